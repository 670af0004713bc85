"""The interface of a task: problems with answers, and the text that a model reads and writes."""

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
        rationale: a true rationale, without the answer; "" if none is known.
        group: the class that the problem is reported under, such as its number of digits.
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
    """The members of a task. All methods are pure: the same arguments give the same text.

    A task is made with those settings `config.task.*` that its parameters name.
    """

    name: ClassVar[str]
    """The task's key in `tasks.TASKS`."""

    markup: ClassVar[tuple[str, ...]]
    """Strings that are frequent in its texts; the byte-level tokenizer gives each one a token."""

    unit: ClassVar[str]
    """The noun that a problem's group counts, for tables and plots: "digits"."""

    separator: ClassVar[str]
    """The text between few-shot examples, which also ends a completion without another end.

    Empty: every example is a document of its own, with the tokens that begin and end one, as in the
    task's own corpus; a pretrained language model sees a blank line between them instead.
    """

    def train(self, seed: int, round: int, count: int) -> list[Problem]:
        """Returns the `count` problems of one round; 0: all there are."""
        ...

    def evaluation(self, seed: int, count: int, ood_count: int) -> list[Problem]:
        """Returns held-out problems, never in `train` under the same seed.

        They choose the round. A generated task returns at most `count` for each class that is
        trained on, then at most `ood_count` for each class out of distribution. A data set returns
        `count` of its development split (0: all).
        """
        ...

    def test(self, count: int) -> list[Problem]:
        """Returns `count` problems of the test set (0: all), only reported on; [] without one."""
        ...

    def in_distribution(self, group: str) -> bool:
        """Returns whether `train` draws from the class `group`."""
        ...

    def few_shot(self, seed: int, count: int) -> list[Problem]:
        """Returns worked examples with a true rationale, never in `evaluation`.

        A data set returns `count` of them, which are never in `train` either. A generated task
        returns `count` for each class, in mixed order.
        """
        ...

    def prompt(self, problem: Problem, hint: bool) -> str:
        """Returns the prompt, which states the answer if `hint` is True (rationalization).

        It depends on `question`, `answer` and `choices` only, which a stored sample has too. It
        does not end in a space, which tokenizers make a part of the next word. The prompt with the
        hint is longer.
        """
        ...

    def message(self, problem: Problem, hint: bool) -> str:
        """Returns the prompt as a user would write it to a chat model."""
        ...

    def completion(self, rationale: str, answer: str) -> str:
        """Returns the whole text that a model writes for this rationale and canonical answer."""
        ...

    def direct(self, problem: Problem) -> str:
        """Returns the completion that is the answer alone, without a rationale."""
        ...

    def ending(self) -> Ending:
        """Returns the rule for the end of a completion if the model goes on after its answer.

        A custom task may leave it out. Then all the text is the completion.
        """
        ...

    def answer(self, completion: str) -> str | None:
        """Returns the canonical answer by the data set's own rule; None if there is none."""
        ...

    def byte_rule(self) -> AnswerRule | None:
        """Returns `answer` as a rule that a device can follow, to the letter; None without one.

        A custom task may leave it out. Then it is graded on the host.
        """
        ...

    def direct_answer(self, completion: str) -> str | None:
        """Returns the canonical answer of a completion without a rationale; None without one."""
        ...

    def flexible(self, problem: Problem, completion: str) -> str | None:
        """Returns the canonical answer by a lenient rule, such as the last number; None if none."""
        ...

    def leaks(self, problem: Problem, completion: str) -> list[str]:
        """Returns the ways in which a rationalization shows that its prompt had the answer."""
        ...

    def wrong_step(self, problem: Problem, completion: str) -> bool | None:
        """Returns whether the rationale has a wrong step; None if the task cannot know."""
        ...

    def steps(self, problem: Problem, completion: str) -> tuple[str, ...] | None:
        """Returns the rationale's steps in order and in canonical form; None if it knows none.

        Two rationales with the same steps are one rationale in different words. Spaces, units and
        the words around a step make no difference.

        A custom task may leave it out. Then it knows none.
        """
        ...

    def longest(self, group: str, direct: bool = False) -> str:
        """Returns a right completion in class `group` as long as any, in bytes and in tokens.

        Its tokens and the end of text are the new tokens that a completion may take. "" means that
        the length is not known, and `sampler.max_new_tokens` limits it.

        Args:
            group: the problem's class.
            direct: True if the completion is the answer alone.
        """
        ...

    def corpus(self, seed: int, count: int, hinted: float, easy: float) -> list[tuple[str, str]]:
        """Returns (prompt, completion) pairs that teach the format, not the skill; see the task."""
        ...
