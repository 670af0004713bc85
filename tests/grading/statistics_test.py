import itertools
import statistics as python

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from star_jax.grading import statistics

COUNTS = st.integers(1, 5000).flatmap(
    lambda total: st.tuples(st.integers(0, total), st.just(total))
)


@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    [  # scipy.stats.binomtest(correct, total).proportion_ci(method="wilson")
        (0, 10, 0.0, 0.27753),
        (8, 10, 0.49016, 0.94332),
        (10, 10, 0.72247, 1.0),
        (50, 100, 0.40383, 0.59617),
        (447, 500, 0.86395, 0.91804),
    ],
)
def test_wilson_agrees_with_scipy(correct, total, low, high):
    assert statistics.wilson(correct, total) == pytest.approx((low, high), abs=1e-5)


@settings(deadline=None)
@given(COUNTS)
def test_the_interval_holds_the_accuracy_and_stays_a_share(counts):
    correct, total = counts
    score = statistics.Score(correct, total)
    low, high = score.interval
    assert 0 <= low <= score.accuracy <= high <= 1
    assert low < high


@settings(deadline=None)
@given(COUNTS)
def test_the_interval_of_wrong_answers_mirrors_that_of_right_ones(counts):
    correct, total = counts
    low, high = statistics.wilson(correct, total)
    assert statistics.wilson(total - correct, total) == pytest.approx((1 - high, 1 - low))


SAMPLES = st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=7)


@settings(deadline=None)
@given(SAMPLES, st.integers(1, 7))
def test_best_of_k_is_the_mean_over_all_choices_of_k(samples, k):
    k = min(k, len(samples))
    scores, right = zip(*samples, strict=True)
    chances = []
    for chosen in itertools.combinations(samples, k):
        best = max(score for score, _ in chosen)
        chances.append(python.mean(float(flag) for score, flag in chosen if score == best))
    assert statistics.best_of_k(scores, right, k) == pytest.approx(python.mean(chances))


@settings(deadline=None)
@given(SAMPLES, st.integers(1, 7))
def test_pass_at_k_is_the_mean_over_all_choices_of_k(samples, k):
    flags = [flag for _, flag in samples]
    k = min(k, len(flags))
    chances = [float(any(chosen)) for chosen in itertools.combinations(flags, k)]
    assert statistics.pass_at_k(len(flags), sum(flags), k) == pytest.approx(python.mean(chances))


def test_best_of_k_without_ties_is_the_closed_formula():
    scores, right = [-1.0, -5.0, -2.0, -9.0], [False, True, True, False]
    # sorted: wrong, right, right, wrong; of 4 over 2 = 6 choices 3, 2, 1 and 0 have them first
    assert statistics.best_of_k(scores, right, 1) == 0.5
    assert statistics.best_of_k(scores, right, 2) == pytest.approx(3 / 6)
    assert statistics.best_of_k(scores, right, 3) == pytest.approx(1 / 4)
    assert statistics.best_of_k(scores, right, 4) == 0


@pytest.mark.parametrize(
    ("scores", "right", "k"), [([], [], 1), ([1.0], [True], 2), ([1.0], [], 1)]
)
def test_best_of_too_many_is_refused(scores, right, k):
    with pytest.raises(ValueError, match=f"best of {k} of {len(scores)} scores"):
        statistics.best_of_k(scores, right, k)


@pytest.mark.parametrize(("correct", "total"), [(0, 0), (3, 2), (-1, 2)])
def test_an_impossible_score_is_refused(correct, total):
    with pytest.raises(ValueError, match=f"{correct} right of {total} answers"):
        statistics.Score(correct, total)


def test_groups_keep_their_order_and_their_own_counts():
    records = [("2", True), ("10", False), ("2", False), ("1", True)]
    found = statistics.by_group(records)
    assert list(found.items()) == [
        ("2", statistics.Score(1, 2)),
        ("10", statistics.Score(0, 1)),
        ("1", statistics.Score(1, 1)),
    ]
    assert statistics.overall(records) == statistics.Score(2, 4)


def test_out_of_distribution_groups_do_not_count_in_the_accuracy():
    records = [("1", True)] * 3 + [("2", False)] + [("6", False)] * 4
    summary = statistics.accuracy_summary(records, lambda group: int(group) <= 5)
    assert summary["accuracy"] == 0.75
    assert summary["evaluated"] == 4
    assert summary["accuracy_interval"] == list(statistics.wilson(3, 4))
    assert summary["accuracy_by_class"] == {"1": 1.0, "2": 0.0}
    assert summary["out_of_distribution"] == {"6": 0.0}
    assert summary["interval_by_class"]["6"] == list(statistics.wilson(0, 4))


def test_accuracy_is_over_problems_not_over_groups():
    records = [("1", True)] * 9 + [("2", False)]
    assert statistics.accuracy_summary(records, lambda group: True)["accuracy"] == 0.9


def test_nothing_in_distribution_is_refused():
    with pytest.raises(ValueError, match="was anything evaluated"):
        statistics.accuracy_summary([("6", True)], lambda group: False)
