import dataclasses
import json

import pytest

from star_jax.data.sample import Sample
from star_jax.grading import statistics
from star_jax.grading.evaluation import summarize
from tests.support.samples import sample


def test_majority_and_pass_over_the_first_samples():
    def answers(*given: str | None) -> list:
        return [
            dataclasses.replace(sample("q", correct=text == "7"), predicted=text, answer="7")
            for text in given
        ]

    found = summarize(
        [answers("7", "7", "1", "1"), answers("1", "7", "7", None), answers(None, "2", "2", "2")]
    )
    assert (found["questions"], found["samples"]) == (3, 4)
    assert found["accuracy"] == pytest.approx(4 / 12)
    # of a tie the earlier answer counts; no answer is none
    assert {k: round(3 * v["accuracy"]) for k, v in found["maj_at"].items()} == {
        "1": 1,
        "2": 1,
        "4": 2,
    }
    at = {k: v["accuracy"] for k, v in found["pass_at"].items()}
    assert at["1"] == pytest.approx(found["accuracy"])
    assert at["2"] == pytest.approx(2 / 3 * (1 - 1 / 6)) and at["4"] == pytest.approx(2 / 3)
    for kind in ("maj_at", "pass_at"):
        for score in found[kind].values():
            low, high = score["interval"]
            assert 0 <= low <= score["accuracy"] <= high <= 1
    assert json.loads(json.dumps(found)) == found


def test_scores_add_the_best_of_k():
    flags = [[True, False, False], [False, True, True]]
    questions = [[sample(str(n), correct=flag) for flag in some] for n, some in enumerate(flags)]
    found = summarize(questions, [[-3.0, -1.0, -2.0], [-1.0, -1.0, -4.0]])
    assert found["best_of"].keys() == found["pass_at"].keys() == {"1", "2", "3"}
    assert found["best_of"]["1"]["accuracy"] == pytest.approx(found["accuracy"])
    # question 0: the right one is last; question 1: a wrong and a right one are first together
    assert found["best_of"]["2"]["accuracy"] == pytest.approx((0 + (0.5 + 0 + 1) / 3) / 2)
    assert found["best_of"]["3"]["accuracy"] == pytest.approx((0 + 0.5) / 2)
    without = {name: value for name, value in found.items() if name != "best_of"}
    assert without == summarize(questions)


def test_one_sample_is_plain_accuracy():
    found = summarize([[sample(str(n), correct=n < 3)] for n in range(10)])
    assert found["accuracy"] == found["maj_at"]["1"]["accuracy"] == 0.3
    assert found["accuracy_interval"] == list(statistics.wilson(3, 10))


def test_truncated_samples_have_no_vote():
    def said(text: str, truncated: bool) -> Sample:
        right = text == "7" and not truncated
        return dataclasses.replace(
            sample("q", correct=right), predicted=text, answer="7", truncated=truncated
        )

    cut_off, whole = [said("7", True)] * 3, [said("7", False), said("1", False), said("1", False)]
    assert summarize([[*cut_off, *whole]])["maj_at"]["6"]["accuracy"] == 0
