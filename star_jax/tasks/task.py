"""What a task is: problems with answers, and the text a model reads and writes about them."""

from dataclasses import dataclass
from typing import ClassVar, Protocol


@dataclass(frozen=True)
class Problem:
    """One question with its gold answer.

    Attributes:
        id: names the problem; unique within a list that a task returns.
        question: the question's own text, without the words the prompt puts around it.
        answer: the gold answer in canonical form, compared for equality.
        rationale: a true rationale, without the answer; "" where none is known.
        group: the class the problem is reported under, such as its number of digits.
    """

    id: str
    question: str
    answer: str
    rationale: str
    group: str


class Task(Protocol):
    """Everything STaR needs to know about a task. All of it is pure: same arguments, same text."""

    name: ClassVar[str]
    """The task's key in `tasks.TASKS`."""

    markup: ClassVar[tuple[str, ...]]
    """Strings its texts are full of; the byte-level tokenizer gives each a token of its own."""

    def train(self, seed: int, round: int, count: int) -> list[Problem]:
        """The `count` problems of one round."""
        ...

    def evaluation(self, seed: int, count: int, ood_count: int) -> list[Problem]:
        """Held-out problems, never in `train` under the same seed.

        At most `count` for each class that is trained on, then at most `ood_count` for each class
        out of distribution; fewer where a class holds fewer.
        """
        ...

    def in_distribution(self, group: str) -> bool:
        """Whether `train` draws from the class `group`."""
        ...

    def few_shot(self, seed: int, count: int) -> list[Problem]:
        """Worked examples with a true rationale, `count` for each class, in mixed order."""
        ...

    def prompt(self, problem: Problem, hint: bool) -> str:
        """What the model continues; with `hint`, it gives the answer away (rationalization).

        Uses `question` and `answer` only, so a stored sample is enough to build it again.
        """
        ...

    def completion(self, rationale: str, answer: str) -> str:
        """The text that a model writes for this rationale and canonical answer, whole."""
        ...

    def direct(self, problem: Problem) -> str:
        """The completion that gives the answer alone, without a rationale."""
        ...

    def answer(self, completion: str) -> str | None:
        """The canonical answer a completion ends in; None where it has none."""
        ...

    def direct_answer(self, completion: str) -> str | None:
        """The canonical answer of a completion without a rationale; None where it has none."""
        ...

    def wrong_step(self, problem: Problem, completion: str) -> bool | None:
        """Whether the completion's rationale has a wrong step; None where the task cannot know."""
        ...

    def longest(self, group: str, direct: bool = False) -> str:
        """A right completion in class `group` as long as any, in bytes and in tokens.

        Its tokens and the end of text are what a completion may take.

        Args:
            group: the problem's class.
            direct: the completion is the answer alone.
        """
        ...

    def corpus(self, seed: int, count: int, hinted: float, easy: float) -> list[tuple[str, str]]:
        """(prompt, completion) pairs that teach the format and not the skill; see the task."""
        ...
