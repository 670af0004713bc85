"""Accuracy of graded answers: overall and per group, each with its 95 % interval.

The functions take right and wrong answers only, never a model.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

Z_95 = 1.959963984540054  # the standard normal's 97.5 % quantile: two-sided 95 %


# `accuracy_summary` of answers to questions whose answers are not known.
NO_ACCURACY: dict[str, Any] = {
    "accuracy": None,
    "accuracy_interval": None,
    "evaluated": 0,
    "accuracy_by_class": {},
    "out_of_distribution": {},
    "interval_by_class": {},
}


@dataclasses.dataclass(frozen=True)
class Score:
    """The number of right answers among `total`.

    Attributes:
        correct: number of right answers, 0..total.
        total: number of answers, at least 1.
    """

    correct: int
    total: int

    def __post_init__(self) -> None:
        if not 0 <= self.correct <= self.total or self.total == 0:
            raise ValueError(
                f"{self.correct} right of {self.total} answers: a score needs at least one answer "
                "and no more right ones than answers; was anything evaluated?"
            )

    @property
    def accuracy(self) -> float:
        """The share of right answers, 0..1."""
        return self.correct / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % Wilson interval of the accuracy, both ends in 0..1."""
        return wilson(self.correct, self.total)


def wilson(correct: int, total: int, z: float = Z_95) -> tuple[float, float]:
    """The Wilson score interval of a proportion (Wilson, 1927).

    Unlike the normal interval it stays inside 0..1 and has a width at 0 and at `total` right
    answers, where the accuracies of the first and the last rounds lie.

    Args:
        correct: number of right answers, 0..total.
        total: number of answers, at least 1.
        z: half-width in standard deviations.

    Returns:
        The lower and upper end, 0 <= low <= correct / total <= high <= 1.
    """
    share = correct / total
    spread = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    center, scale = share + z * z / (2 * total), 1 + z * z / total
    # min and max: at 0 and at `total` the exact ends are 0 and 1, which rounding can miss by 1e-17.
    return max(0.0, min(share, (center - spread) / scale)), min(
        1.0, max(share, (center + spread) / scale)
    )


@dataclasses.dataclass(frozen=True)
class Mean:
    """A mean over questions of numbers in 0..1.

    Attributes:
        value: the mean.
        interval: 95 % interval within 0..1: Wilson's if all numbers are 0 or 1, otherwise by the
            normal distribution.
    """

    value: float
    interval: tuple[float, float]


def mean(values: Sequence[float]) -> Mean:
    """Returns the mean of one number in 0..1 per question.

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("a mean needs at least one question; was anything evaluated?")
    middle = sum(values) / len(values)
    if set(values) <= {0.0, 1.0}:
        return Mean(middle, wilson(round(sum(values)), len(values)))
    spread = sum((value - middle) ** 2 for value in values) / max(len(values) - 1, 1)
    half = Z_95 * math.sqrt(spread / len(values))
    return Mean(middle, (max(0.0, middle - half), min(1.0, middle + half)))


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """The chance that one of k samples is right, without bias (Chen et al., 2021, eq. 1).

    Args:
        samples: number of samples of the question, at least k.
        correct: number of right samples.
        k: number of samples that the chance is for.
    """
    return 1 - math.comb(samples - correct, k) / math.comb(samples, k)


def best_of_k(scores: Sequence[float], right: Sequence[bool], k: int) -> float:
    """The chance that the best-scored of k of N samples is right (V-STaR, Hosseini et al., 2024).

    The sample at rank i = 0, 1, ... is the best of C(N-i-1, k-1) of the C(N, k) choices of k
    samples. Samples of one score share their ranks: each of them is equally likely to come first,
    as if ties were broken at random.

    Args:
        scores: score of each sample of the question; higher is better.
        right: whether each sample is right, in the same order.
        k: number of samples to choose the best of, 1..N.

    Raises:
        ValueError: the lengths differ, or k is not in 1..N.
    """
    count = len(scores)
    if len(right) != count or not 1 <= k <= count:
        raise ValueError(f"best of {k} of {count} scores and {len(right)} grades: k is in 1..N")
    order = sorted(range(count), key=lambda index: -scores[index])
    total, rank = 0.0, 0
    for _, tied in itertools.groupby(order, key=lambda index: scores[index]):
        grades = [right[index] for index in tied]
        ways = sum(math.comb(count - i - 1, k - 1) for i in range(rank, rank + len(grades)))
        total += ways / math.comb(count, k) * sum(grades) / len(grades)
        rank += len(grades)
    return total


def majority(answers: Sequence[str | None]) -> str | None:
    """The commonest answer, the earlier one of a tie; None if there is no answer at all."""
    votes = [answer for answer in answers if answer is not None]
    return max(votes, key=votes.count, default=None)


def overall(records: Iterable[tuple[str, bool]]) -> Score:
    """The score over all records, whatever their group.

    Args:
        records: (group, correct) of each answer.

    Raises:
        ValueError: there are no records.
    """
    verdicts = [correct for _, correct in records]
    return Score(sum(verdicts), len(verdicts))


def by_group(records: Iterable[tuple[str, bool]]) -> dict[str, Score]:
    """The score of each group, the groups in the order in which they first come.

    Args:
        records: (group, correct) of each answer.
    """
    verdicts: dict[str, list[bool]] = {}
    for group, correct in records:
        verdicts.setdefault(group, []).append(correct)
    return {group: Score(sum(right), len(right)) for group, right in verdicts.items()}


def accuracy_summary(
    records: Sequence[tuple[str, bool]], in_distribution: Callable[[str], bool]
) -> dict[str, Any]:
    """Returns a round's evaluation in the form of `result.json`.

    Args:
        records: (group, correct) of each answer.
        in_distribution: function that returns whether a group is of the kind that is trained on.

    Returns:
        accuracy: share right of all in-distribution problems, 0..1.
        accuracy_interval: [low, high], its 95 % Wilson interval.
        evaluated: number of in-distribution problems.
        accuracy_by_class: group -> share right, in-distribution groups only.
        out_of_distribution: group -> share right, the other groups.
        interval_by_class: group -> [low, high], all groups.

    Raises:
        ValueError: no record is in distribution.
    """
    inside = [record for record in records if in_distribution(record[0])]
    records = sorted(records, key=lambda record: (len(record[0]), record[0]))
    total, groups = overall(inside), by_group(records)
    return {
        "accuracy": total.accuracy,
        "accuracy_interval": list(total.interval),
        "evaluated": total.total,
        "accuracy_by_class": {g: s.accuracy for g, s in groups.items() if in_distribution(g)},
        "out_of_distribution": {g: s.accuracy for g, s in groups.items() if not in_distribution(g)},
        "interval_by_class": {g: list(s.interval) for g, s in groups.items()},
    }
