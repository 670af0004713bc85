"""The area under the ROC curve against all pairs, and its interval against what it promises."""

import itertools

import numpy as np
import pytest

from star_jax.grading.auc import Auc, auc
from star_jax.grading.statistics import Z_95


def by_pairs(scores: list[float], labels: list[bool]) -> float:
    """The share of pairs in the right order; half a pair where scores are equal."""
    high = [score for score, label in zip(scores, labels, strict=True) if label]
    low = [score for score, label in zip(scores, labels, strict=True) if not label]
    pairs = list(itertools.product(high, low))
    return sum((a > b) + 0.5 * (a == b) for a, b in pairs) / len(pairs)


@pytest.mark.parametrize("seed", range(20))
def test_is_the_share_of_ordered_pairs(seed: int):
    draws = np.random.default_rng(seed)
    count = int(draws.integers(2, 40))
    scores = draws.integers(-3, 4, count) / 2 if seed % 2 else draws.normal(size=count)
    labels = draws.random(count) < 0.4
    labels[:2] = True, False
    found = auc(scores.tolist(), labels.tolist())
    assert found.value == pytest.approx(by_pairs(scores.tolist(), labels.tolist()))
    assert (found.positives, found.negatives) == (labels.sum(), (~labels).sum())
    turned = auc((-scores).tolist(), labels.tolist())
    assert turned.value == pytest.approx(1 - found.value)


@pytest.mark.parametrize(
    ("scores", "labels", "expected"),
    [
        ([1, 2, 3, 4], [False, False, True, True], 1.0),
        ([1, 2, 3, 4], [True, True, False, False], 0.0),
        ([7, 7, 7], [True, False, False], 0.5),
        ([1, 2, 2, 3], [False, True, False, True], 0.875),
        ([float("-inf"), 0, float("inf")], [False, False, True], 1.0),
    ],
)
def test_small_cases(scores: list[float], labels: list[bool], expected: float):
    assert auc(scores, labels).value == expected


def test_the_standard_error_is_that_of_the_paper():
    """Hanley & McNeil (1982): 51 abnormal images, 58 normal ones, area 0.893; the error is 0.032."""
    found = Auc(0.893, positives=51, negatives=58)
    assert found.standard_error(0.893) == pytest.approx(0.032, abs=1e-3)
    # A pair: the standard error of one toss.
    assert Auc(0.5, 1, 1).standard_error(0.7) == pytest.approx((0.7 * 0.3) ** 0.5)


@pytest.mark.parametrize("value", [0.0, 0.03, 0.5, 0.71, 0.999, 1.0])
@pytest.mark.parametrize(("positives", "negatives"), [(1, 1), (4, 200), (150, 12)])
def test_the_ends_are_as_far_as_they_say(value: float, positives: int, negatives: int):
    found = Auc(value, positives, negatives)
    low, high = found.interval
    assert 0 <= low <= value <= high <= 1 and low < high
    for end in {low, high} - {0.0, 1.0}:
        assert abs(end - value) == pytest.approx(Z_95 * found.standard_error(end), rel=1e-6)


def test_the_interval_holds_the_true_area_about_19_times_in_20():
    """Exponential scores, as the paper's, of two classes: the positives' are `odds` times as high."""
    draws, odds, held = np.random.default_rng(0), 3.0, 0
    labels = [True] * 30 + [False] * 60
    for _ in range(400):
        scores = [*odds * draws.exponential(size=30), *draws.exponential(size=60)]
        low, high = auc(scores, labels).interval
        held += low <= odds / (1 + odds) <= high
    assert 0.92 <= held / 400 <= 0.985


@pytest.mark.parametrize(
    ("scores", "labels", "says"),
    [
        ([1, 2], [True, True], "2 positives and 0 negatives"),
        ([1, 2], [False, False], "0 positives and 2 negatives"),
        ([1, float("nan")], [True, False], "2 scores and 2 labels: each label needs a score"),
        ([1, 2, 3], [True, False], "3 scores and 2 labels"),
    ],
)
def test_what_has_no_area_is_refused(scores: list[float], labels: list[bool], says: str):
    with pytest.raises(ValueError, match=says):
        auc(scores, labels)
