"""What the tasks of multiple choice have in common: everything but where their rows come from."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from star_jax import leaks
from star_jax.tasks import choice_rows, choices, rows, splits
from star_jax.tasks.rows import DataError, Flaw, Row
from star_jax.tasks.task import Problem


@dataclass(frozen=True)
class MultipleChoice:
    """A data set of multiple choice as a task; `choices` has its text and its rules.

    Nothing is read before the first problem is asked for.

    Attributes:
        data: where the rows are, as `rows.read` has it.
        dev: share of the training split that is held out as the development split.
        bad: largest share of unusable rows in a split.
    """

    data: str
    dev: float = 0.1
    bad: float = 0.01
    name: ClassVar[str]
    test_split: ClassVar[str] = "test"  # what the test problems are called in the data
    fields: ClassVar[tuple[str, ...]] = ("answerKey",)  # what the first row must have
    unit: ClassVar[str] = "kind"
    separator: ClassVar[str] = "\n\n"
    markup: ClassVar[tuple[str, ...]] = ()

    def convert(self, row: Row) -> Problem | Flaw:
        """The problem in a row, or what is wrong with it."""
        return choice_rows.convert(row)

    def worked(self) -> Sequence[Problem]:
        """The worked examples, with rationales; a data set with some of its own says so here."""
        return ()

    @functools.cached_property
    def flaws(self) -> dict[str, list[Flaw]]:
        """The rows left out of each split read so far."""
        return {}

    def train(self, seed: int, round: int, count: int) -> list[Problem]:
        """`count` problems (0: all), the same in every round, in an order of the round's own.

        Raises:
            DataError: the data cannot be used, or all of it is held out.
        """
        kept = [p for p in self._usable if not splits.held_out(p, seed, self.dev)]
        if not kept:
            raise DataError(f"{self.data}: no row is left to train on; give more, or a smaller dev")
        return splits.train(kept, seed, round, count)

    def evaluation(self, seed: int, count: int, ood_count: int) -> list[Problem]:
        """`count` problems (0: all) of the development split, which is part of the training set.

        Raises:
            DataError: the data cannot be used, or none of it is held out.
        """
        del ood_count
        held_out = [p for p in self._usable if splits.held_out(p, seed, self.dev)]
        if not held_out:
            raise DataError(f"{self.data}: no row is held out; give more, or a larger dev")
        return splits.evaluation(held_out, seed, count)

    def test(self, count: int) -> list[Problem]:
        """`count` problems (0: all) of the split that results are reported on."""
        return splits.test(self._test, count)

    def few_shot(self, seed: int, count: int) -> list[Problem]:
        """The first `count` worked examples, or all if there are fewer; they are never asked.

        Raises:
            DataError: there are none.
        """
        del seed
        found = self.worked()
        if count and not found:
            raise DataError(
                f"{self.data}: none of the worked examples of {self.name} is among these rows; "
                "set few_shot.examples = 0, or take its published training split"
            )
        return list(found[:count])

    def in_distribution(self, group: str) -> bool:
        """True: every group is trained on."""
        del group
        return True

    def prompt(self, problem: Problem, hint: bool) -> str:
        """The question and its choices, up to "A:"; with `hint`, the right one is marked."""
        return choices.prompt(problem, hint)

    def message(self, problem: Problem, hint: bool) -> str:
        """The prompt without "Q:" and "A:"."""
        return choices.message(problem, hint)

    def completion(self, rationale: str, answer: str) -> str:
        """A rationale that ends in the answer's words, and the letter."""
        return choices.completion(rationale, answer)

    def direct(self, problem: Problem) -> str:
        """The answer's words and letter."""
        return choices.direct(problem)

    def answer(self, completion: str) -> str | None:
        """The letter that ends "Therefore, the answer is ... (b)."; see `choices.answer`."""
        return choices.answer(completion)

    def direct_answer(self, completion: str) -> str | None:
        """The letter that ends a completion of one line."""
        return choices.direct_answer(completion)

    def flexible(self, problem: Problem, completion: str) -> str | None:
        """The choice settled on, by letter or by words; see `choices.flexible`."""
        return choices.flexible(problem, completion)

    def leaks(self, problem: Problem, completion: str) -> list[str]:
        """See `leaks.leaks`: the mark is "(CORRECT)"."""
        answers = (choices.text_of(problem), f"({problem.answer})")
        return leaks.leaks(completion, marks=(choices.MARK,), answers=answers)

    def wrong_step(self, problem: Problem, completion: str) -> bool | None:
        """None: only a reader could tell."""
        del problem, completion
        return None

    def longest(self, group: str, direct: bool = False) -> str:
        """Not known: ""."""
        del group, direct
        return ""

    def corpus(self, seed: int, count: int, hinted: float, easy: float) -> list[tuple[str, str]]:
        """None: the model must come with its language."""
        del seed, count, hinted, easy
        return []

    @functools.cached_property
    def _usable(self) -> list[Problem]:
        """The training split without the worked examples."""
        shown = {splits.key(problem) for problem in self.worked()}
        return [problem for problem in self._all if splits.key(problem) not in shown]

    @functools.cached_property
    def _all(self) -> list[Problem]:
        return self._load("train")

    @functools.cached_property
    def _test(self) -> list[Problem]:
        return self._load(self.test_split)

    def _load(self, split: str) -> list[Problem]:
        lines: dict[str, int] = {}

        def convert(row: Row) -> Problem | Flaw:
            found = self.convert(row)
            if isinstance(found, Flaw):
                return found
            first = lines.setdefault(found.id, row.line)
            if first != row.line:
                return Flaw(row.line, "duplicate", f"its id {found.id!r} is that of line {first}")
            return found

        problems, self.flaws[split] = rows.problems(
            self.data, split, convert, self.bad, *self.fields
        )
        return problems
