"""What the tasks that read a data set have in common: splits, worked examples, rows left out.

A class derived from `DataSet` says what a row holds (`problem`), and how a problem is asked and an
answer found, as `Task` describes it.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from star_jax.tasks import rows, splits
from star_jax.tasks.answer_rule import OPENINGS, AnswerRule, Ending
from star_jax.tasks.rows import DataError, Flaw, Row
from star_jax.tasks.task import Problem

_TESTED = "to be tested on"  # a kind of flaw: the row is in the test set


@dataclass(frozen=True)
class DataSet:
    """Problems from the rows of a data set. Nothing is read before the first one is asked for.

    Attributes:
        data: where the rows are; see `rows.read`.
        dev: share of the training split that is held out as the development split.
        bad: largest share of unusable rows in a split.
    """

    data: str
    dev: float = 0.1
    bad: float = 0.01
    name: ClassVar[str]
    test_split: ClassVar[str] = "test"  # what the test problems are called in the data
    unit: ClassVar[str] = "kind"
    separator: ClassVar[str] = "\n\n"
    openings: ClassVar[tuple[str, ...]] = OPENINGS  # how a question begins; see `Ending`
    markup: ClassVar[tuple[str, ...]] = ()
    no_examples: ClassVar[str] = "set config.few_shot.examples=0"  # the remedy

    def fields(self) -> Sequence[str]:
        """What the first row must have; see `rows.read`."""
        raise NotImplementedError

    def problem(self, split: str, row: Row) -> Problem | Flaw:
        """The problem in a row of a split, or what is wrong with the row."""
        raise NotImplementedError

    def worked(self) -> Sequence[Problem]:
        """The worked examples, with rationales; they are never asked."""
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
        kept = [p for p in self._trained if not splits.held_out(p, seed, self.dev)]
        if not kept:
            raise DataError(
                f"{self.data}: no row is left to train on; give more rows, or a smaller "
                f"config.task.dev{self._overlap()}"
            )
        return splits.train(kept, seed, round, count)

    def evaluation(self, seed: int, count: int, ood_count: int) -> list[Problem]:
        """`count` problems (0: all) of the development split, which is part of the training split.

        Raises:
            DataError: the data cannot be used, or none of it is held out.
        """
        del ood_count
        held_out = [p for p in self._trained if splits.held_out(p, seed, self.dev)]
        if not held_out:
            raise DataError(
                f"{self.data}: no row is held out to choose the round by; give more rows, or a "
                f"larger config.task.dev{self._overlap()}"
            )
        return splits.evaluation(held_out, seed, count)

    def test(self, count: int) -> list[Problem]:
        """`count` problems (0: all) of the split that is only reported on; [] without one."""
        return splits.test(self._tested, count)

    def few_shot(self, seed: int, count: int) -> list[Problem]:
        """The first `count` worked examples, or all if there are fewer.

        Raises:
            DataError: there are none.
        """
        del seed
        if count and not self.worked():
            raise DataError(
                f"{self.data}: no worked examples to begin the prompt with: {self.no_examples}"
            )
        return list(self.worked()[:count])

    def ending(self) -> Ending:
        """Before a question of the model's own, as one of `openings` begins it."""
        return Ending(openings=self.openings)

    def byte_rule(self) -> AnswerRule | None:
        """None: answers are found on the host."""
        return None

    def in_distribution(self, group: str) -> bool:
        """True: every group is trained on."""
        del group
        return True

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

    def load(self, data: str, split: str, name: str = "") -> list[Problem]:
        """All problems of a split of `data`; to `problem` and in `flaws` it is called `name`."""
        name = name or split
        found, self.flaws[name] = rows.problems(
            data, split, functools.partial(self.problem, name), self.bad, *self.fields()
        )
        return found

    @functools.cached_property
    def all_of_train(self) -> list[Problem]:
        """The training split, with the worked examples that are rows of it."""
        return self.load(self.data, "train")

    @functools.cached_property
    def _trained(self) -> list[Problem]:
        """What is trained on and held out: nothing that is shown, or tested on."""
        tested = {splits.asked(problem): problem.id for problem in self._tested}
        kept = []
        for problem in self._not_shown(self.all_of_train):
            if same := tested.get(splits.asked(problem)):
                what = f"{problem.id}: the question of {self.test_split}'s {same}"
                self.flaws.setdefault("train", []).append(Flaw(0, _TESTED, what))
            else:
                kept.append(problem)
        return kept

    @functools.cached_property
    def _tested(self) -> list[Problem]:
        return self._not_shown(self.load(self.data, self.test_split))

    def _overlap(self) -> str:
        count = sum(flaw.kind == _TESTED for flaw in self.flaws["train"])
        return f" ({count} rows are left out, which are in the test set)" if count else ""

    def _not_shown(self, problems: Sequence[Problem]) -> list[Problem]:
        shown = {splits.key(problem) for problem in self.worked()}
        return [problem for problem in problems if splits.key(problem) not in shown]
