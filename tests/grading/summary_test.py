import json

from star_jax.grading import filtering
from star_jax.grading.summary import summarize
from tests.grading.filtering_test import CUT_OFF
from tests.support.samples import sample


def test_summary():
    samples = [
        sample("a", correct=True, wrong_step=True),
        sample("b", correct=True, group="3"),
        sample("c", correct=False, wrong_step=True, flexible=True),
        sample("d", correct=False, reason="no answer", predicted=None),
        sample("e", **CUT_OFF),
    ]
    hinted = [
        sample("c", correct=True, hint=True, wrong_step=True, leaks=["given", "mark"]),
        sample("d", correct=True, hint=True, wrong_step=None, leaks=["mark"]),
        sample("e", correct=False, hint=True, leaks=["mark"], wrong_step=True, reason="no answer"),
    ]
    summary = summarize(samples, hinted, filtering.filter_samples(samples, hinted))
    assert summary == {
        "tried": 5,
        "correct": 2,
        "hinted": 3,
        "rationalized": 2,
        "kept": 4,
        "wrong_step_share": {"generated": 1 / 2, "rationalized": 1.0},
        "truncated": {"generated": 1 / 5, "rationalized": 0.0},
        "unparsable": {"generated": 1 / 5, "rationalized": 1 / 3},
        "disagreement": {"generated": 1 / 5, "rationalized": 0.0},
        "leaks": {"given": 1, "mark": 2},
        "dropped": {
            "generated": {"no answer": 1, "truncated": 1, "wrong answer": 1},
            "rationalized": {"no answer": 1},
        },
        "by_class": {
            "2": {
                "tried": 4,
                "correct": 1,
                "hinted": 3,
                "rationalized": 2,
                "kept": 3,
                "wrong_step_share": {"generated": 1.0, "rationalized": 1.0},
            },
            "3": {
                "tried": 1,
                "correct": 1,
                "hinted": 0,
                "rationalized": 0,
                "kept": 1,
                "wrong_step_share": {"generated": 0.0, "rationalized": None},
            },
        },
    }
    assert json.loads(json.dumps(summary)) == summary


def test_summary_of_nothing_has_no_shares():
    summary = summarize([], [], [])
    assert (summary["tried"], summary["kept"], summary["by_class"]) == (0, 0, {})
    for name in ("wrong_step_share", "truncated", "unparsable", "disagreement"):
        assert summary[name] == {"generated": None, "rationalized": None}


def test_without_answers_nothing_is_counted_as_right_or_wrong():
    found = summarize([sample("a", correct=False, answer="", kept=True)], [], [])
    assert found["correct"] is None and found["by_class"]["2"]["correct"] is None
    assert found["disagreement"]["generated"] is None and found["tried"] == 1
