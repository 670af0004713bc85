"""What a task is: problems with answers, and the text a model reads and writes about them."""

from dataclasses import dataclass
from typing import ClassVar, Protocol

from star_jax.tasks.answer_rule import AnswerRule, Ending


@dataclass(frozen=True)
class Problem:
    """One question with its gold answer.

    Attributes:
        id: names the problem; unique within a list that a task returns.
        question: the question's own text, without the words the prompt puts around it.
        answer: the gold answer in canonical form, compared for equality.
        rationale: a true rationale, without the answer; "" where none is known.
        group: the class the problem is reported under, such as its number of digits.
        choices: texts of the choices (a), (b), ... of a multiple-choice question; its answer is the
            letter. Empty for others.
    """

    id: str
    question: str
    answer: str
    rationale: str
    group: str
    choices: tuple[str, ...] = ()


class Task(Protocol):
    """Everything STaR needs to know about a task. All of it is pure: same arguments, same text.

    A task is made with those of the settings `config.task.*` that its parameters name.
    """

    name: ClassVar[str]
    """The task's key in `tasks.TASKS`."""

    markup: ClassVar[tuple[str, ...]]
    """Strings its texts are full of; the byte-level tokenizer gives each a token of its own."""

    unit: ClassVar[str]
    """What a problem's group counts, for tables and plots: "digits"."""

    separator: ClassVar[str]
    """Stands between few-shot examples, and so ends a completion that does not end by itself.

    Empty: every example is a document of its own, with the tokens that begin and end one.
    """

    def train(self, seed: int, round: int, count: int) -> list[Problem]:
        """The `count` problems of one round; 0: all there are."""
        ...

    def evaluation(self, seed: int, count: int, ood_count: int) -> list[Problem]:
        """Held-out problems, never in `train` under the same seed.

        They choose the round. A generated task gives at most `count` for each class that is trained
        on, then at most `ood_count` for each class out of distribution; a data set gives `count` of
        its development split (0: all).
        """
        ...

    def test(self, count: int) -> list[Problem]:
        """`count` problems of the test set (0: all), only ever reported on; [] if there is none."""
        ...

    def in_distribution(self, group: str) -> bool:
        """Whether `train` draws from the class `group`."""
        ...

    def few_shot(self, seed: int, count: int) -> list[Problem]:
        """Worked examples with a true rationale, never in `evaluation`.

        `count` of a data set's, never in `train` either; of a generated task's `count` for each
        class, in mixed order.
        """
        ...

    def prompt(self, problem: Problem, hint: bool) -> str:
        """What the model continues; with `hint`, it gives the answer away (rationalization).

        Uses `question`, `answer` and `choices` only, which a stored sample has too. It does not end
        in a space, which tokenizers make a part of the next word, and is longer with the hint.
        """
        ...

    def message(self, problem: Problem, hint: bool) -> str:
        """The same as a user would say it to a chat model."""
        ...

    def completion(self, rationale: str, answer: str) -> str:
        """The text that a model writes for this rationale and canonical answer, whole."""
        ...

    def direct(self, problem: Problem) -> str:
        """The completion that gives the answer alone, without a rationale."""
        ...

    def ending(self) -> Ending:
        """Where a completion ends if the model goes on after its answer.

        A custom task may leave it out: whatever was written is the completion then.
        """
        ...

    def answer(self, completion: str) -> str | None:
        """The canonical answer by the data set's own rule; None where there is none."""
        ...

    def byte_rule(self) -> AnswerRule | None:
        """`answer` as a rule that a device can follow, to the letter; None where there is none.

        A custom task may leave it out: it is graded on the host then.
        """
        ...

    def direct_answer(self, completion: str) -> str | None:
        """The canonical answer of a completion without a rationale; None where it has none."""
        ...

    def flexible(self, problem: Problem, completion: str) -> str | None:
        """The canonical answer by a lenient rule, such as the last number; None without one."""
        ...

    def leaks(self, problem: Problem, completion: str) -> list[str]:
        """The ways in which a rationalization gives away that it was told the answer."""
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

        "" where that is not known: then `sampler.max_new_tokens` says it.
        """
        ...

    def corpus(self, seed: int, count: int, hinted: float, easy: float) -> list[tuple[str, str]]:
        """(prompt, completion) pairs that teach the format and not the skill; see the task."""
        ...
