"""The base class of tasks that read a data set: splits, worked examples, rows left out.

A class derived from `DataSet` defines how a row becomes a problem (`problem`). It also defines the
text of a problem and how an answer is found, as `Task` describes.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from star_jax.tasks import equations, rows, splits
from star_jax.tasks.answer_rule import OPENINGS, AnswerRule, Ending
from star_jax.tasks.rows import DataError, Flaw, Row
from star_jax.tasks.task import Problem

_TESTED = "to be tested on"  # kind of a flaw: the row is in the test set


@dataclass(frozen=True)
class DataSet:
    """A task whose problems come from the rows of a data set, which are read on first use.

    Attributes:
        data: place of the rows; see `rows.read`.
        dev: share of the training split that is held out as the development split.
        bad: largest share of unusable rows in a split.
    """

    data: str
    dev: float = 0.1
    bad: float = 0.01
    name: ClassVar[str]
    test_split: ClassVar[str] = "test"  # the data's name of the test split
    unit: ClassVar[str] = "kind"
    separator: ClassVar[str] = "\n\n"
    openings: ClassVar[tuple[str, ...]] = OPENINGS  # how a question begins; see `Ending`
    markup: ClassVar[tuple[str, ...]] = ()
    no_examples: ClassVar[str] = "set config.few_shot.examples=0"  # the remedy

    def fields(self) -> Sequence[str]:
        """Returns the fields that the first row must have; see `rows.read`."""
        raise NotImplementedError

    def problem(self, split: str, row: Row) -> Problem | Flaw:
        """Returns the problem in a row of a split, or the row's flaw."""
        raise NotImplementedError

    def worked(self) -> Sequence[Problem]:
        """Returns the worked examples, with rationales; no split contains them."""
        return ()

    @functools.cached_property
    def flaws(self) -> dict[str, list[Flaw]]:
        """The rows left out of each split read so far."""
        return {}

    def train(self, seed: int, round: int, count: int) -> list[Problem]:
        """Returns `count` problems (0: all), the same in every round; each round has an order.

        Raises:
            DataError: the data cannot be used, or all of it is held out.
        """
        problems = [p for p in self._trained if not splits.held_out(p, seed, self.dev)]
        if not problems:
            raise DataError(
                f"{self.data}: no row is left to train on; give more rows, or a smaller "
                f"config.task.dev{self._overlap()}"
            )
        return splits.train(problems, seed, round, count)

    def evaluation(self, seed: int, count: int, ood_count: int) -> list[Problem]:
        """Returns `count` problems (0: all) of the development split.

        That is a part of the data's training split.

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
        """Returns `count` problems (0: all) of the test split, only reported on; [] without one."""
        return splits.test(self._tested, count)

    def few_shot(self, seed: int, count: int) -> list[Problem]:
        """Returns the first `count` worked examples, or all if there are fewer.

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
        """Returns the ending before a question of the model's own, begun by one of `openings`."""
        return Ending(openings=self.openings)

    def byte_rule(self) -> AnswerRule | None:
        """Returns None: answers are found on the host."""
        return None

    def in_distribution(self, group: str) -> bool:
        """Returns True: every group is trained on."""
        del group
        return True

    def wrong_step(self, problem: Problem, completion: str) -> bool | None:
        """Returns whether an equation in the rationale is false; None without any to check.

        Calculator annotations such as <<48/2=24>> are checked, and equations in the text itself.
        """
        del problem
        return equations.wrong(completion)

    def steps(self, problem: Problem, completion: str) -> tuple[str, ...] | None:
        """Returns the rationale's annotations or, without any, its equations; None without both."""
        del problem
        return equations.steps(completion) or None

    def longest(self, group: str, direct: bool = False) -> str:
        """Returns "": the longest completion is not known."""
        del group, direct
        return ""

    def corpus(self, seed: int, count: int, hinted: float, easy: float) -> list[tuple[str, str]]:
        """Returns []: there is no corpus, so the model must be pretrained."""
        del seed, count, hinted, easy
        return []

    def load(self, data: str, split: str, name: str = "") -> list[Problem]:
        """Returns all problems of a split of `data`.

        Args:
            data: place of the data; see `rows.read`.
            split: the split's name in the data.
            name: the split's name in `problem` and in `flaws`; "" for the same.
        """
        name = name or split
        problems, self.flaws[name] = rows.problems(
            data, split, functools.partial(self.problem, name), self.bad, *self.fields()
        )
        return problems

    @functools.cached_property
    def all_of_train(self) -> list[Problem]:
        """The problems of the training split, including worked examples that are rows of it."""
        return self.load(self.data, "train")

    @functools.cached_property
    def _trained(self) -> list[Problem]:
        """The problems to train on and to hold out: neither worked examples nor tested ones."""
        tested = {splits.asked(problem): problem.id for problem in self._tested}
        problems = []
        for problem in self._without_worked(self.all_of_train):
            if same := tested.get(splits.asked(problem)):
                what = f"{problem.id}: the question of {self.test_split}'s {same}"
                self.flaws.setdefault("train", []).append(Flaw(0, _TESTED, what))
            else:
                problems.append(problem)
        return problems

    @functools.cached_property
    def _tested(self) -> list[Problem]:
        return self._without_worked(self.load(self.data, self.test_split))

    def _overlap(self) -> str:
        count = sum(flaw.kind == _TESTED for flaw in self.flaws["train"])
        return f" ({count} rows are left out, which are in the test set)" if count else ""

    def _without_worked(self, problems: Sequence[Problem]) -> list[Problem]:
        worked = {splits.key(problem) for problem in self.worked()}
        return [problem for problem in problems if splits.key(problem) not in worked]
