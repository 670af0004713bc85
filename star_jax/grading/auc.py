"""The area under the ROC curve: how well a score tells two classes apart.

The functions take numbers and labels only, never a model.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from star_jax.grading.statistics import Z_95

_HALVINGS = 60  # of the range in which an end of the interval is searched


@dataclasses.dataclass(frozen=True)
class Auc:
    """The chance that a random positive has a higher score than a random negative.

    Attributes:
        value: area under the ROC curve, 0..1; a pair with equal scores counts half. 0.5: chance.
        positives: number of positives, at least 1.
        negatives: number of negatives, at least 1.
    """

    value: float
    positives: int
    negatives: int

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval, both ends in 0..1: all areas that the value does not refute.

        An area A is refuted if the value is further from it than 1.96 standard errors of A by
        Hanley & McNeil (1982). As Wilson's interval of a proportion, and unlike the value plus and
        minus its own standard error, it has a width at 0 and at 1.
        """
        return self._end(0.0), self._end(1.0)

    def standard_error(self, area: float) -> float:
        """Returns the standard error of a value whose true area is `area`.

        It is by the formula of Hanley & McNeil (1982), who derive it for exponential scores.
        """
        one, two = area / (2 - area), 2 * area * area / (1 + area)
        square = area * area
        variance = area * (1 - area)
        variance += (self.positives - 1) * (one - square) + (self.negatives - 1) * (two - square)
        return math.sqrt(max(0.0, variance) / (self.positives * self.negatives))

    def _end(self, outside: float) -> float:
        """Returns the end of the interval between the value and `outside`, which is 0 or 1."""
        inside = self.value
        for _ in range(_HALVINGS):
            middle = (inside + outside) / 2
            if abs(middle - self.value) <= Z_95 * self.standard_error(middle):
                inside = middle
            else:
                outside = middle
        return inside


def auc(scores: Sequence[float], labels: Sequence[bool]) -> Auc:
    """Returns the area under the ROC curve of a score for a label.

    Args:
        scores: score of each item; a higher one speaks for the label True.
        labels: label of each item: True for a positive.

    Raises:
        ValueError: a score is NaN, there are not as many labels as scores, or all labels are alike.
    """
    values, positive = np.asarray(scores, np.float64), np.asarray(labels, bool)
    if values.shape != positive.shape or np.isnan(values).any():
        raise ValueError(
            f"{len(scores)} scores and {len(labels)} labels: each label needs a score that is a "
            "number"
        )
    high, low = values[positive], np.sort(values[~positive])
    if not len(high) or not len(low):
        raise ValueError(
            f"{len(high)} positives and {len(low)} negatives: an area under the ROC curve needs "
            "both; take more samples"
        )
    below = np.searchsorted(low, high, "left") + np.searchsorted(low, high, "right")
    return Auc(float(below.sum() / 2 / (len(high) * len(low))), len(high), len(low))
