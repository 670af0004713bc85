import dataclasses
import math

import pytest

from star_jax.data.sample import Sample
from star_jax.grading import diversity
from tests.support.samples import sample


def question(id: str, *answers: str | None, texts: str = "") -> list[Sample]:
    """Samples of one question whose gold answer is '1', with these answers and texts."""
    return [
        sample(id, correct=a == "1", predicted=a, completion=texts[i : i + 1] or str(i), sample=i)
        for i, a in enumerate(answers)
    ]


def test_summary_by_hand():
    samples = [
        *question("always", "1", "1", "1", "1", texts="aaaa"),
        *question("half", "1", "1", "2", None, texts="aabc"),
        *question("never", "3", "3", "3", "3", texts="xxxx"),
    ]
    assert diversity.summarize(samples) == {
        "samples": 4,
        "distinct_answers": pytest.approx((1 + 2 + 1) / 3),
        "distinct_rationales": pytest.approx((1 + 3 + 1) / 3),
        "answer_entropy": pytest.approx((0 + 1.5 + 0) / 3),
        "pass_rate": [1, 0, 1, 0, 1],
        "collapsed": 1 / 2,
        "never_solved": 1,
    }


def test_a_question_solved_in_an_earlier_round_is_not_never_solved():
    now = [*question("a", "2", "2"), *question("b", "2", "2")]
    before = question("a", "2", "1")
    assert diversity.summarize(now, [before])["never_solved"] == 1


def test_without_answers_nothing_is_said_to_be_unsolved():
    drawn = [*question("a", "2", "2", texts="xx"), *question("b", "2", "3", texts="xy")]
    unknown = [dataclasses.replace(one, answer="") for one in drawn]
    found = diversity.summarize(unknown, [unknown])
    assert found["pass_rate"] is None and found["never_solved"] is None
    assert found["collapsed"] == 1 / 2 and found["distinct_answers"] == 1.5


def test_questions_that_are_always_solved_are_no_collapse():
    found = diversity.summarize(question("a", "1", "1", texts="aa"))
    assert found["collapsed"] is None
    assert not diversity.has_collapsed(found)


def test_collapse_is_copies_in_most_open_questions():
    copies, different = question("a", "2", "2", texts="xx"), question("b", "2", "3", texts="xy")
    assert not diversity.has_collapsed(diversity.summarize([*copies, *different]))
    more = question("c", "2", "2", texts="zz")
    assert diversity.has_collapsed(diversity.summarize([*copies, *different, *more]))


@pytest.mark.parametrize(
    ("answers", "bits"),
    [(["1"], 0), (["1", "2"], 1), (["1", None], 1), (["1", "2", "3", "4"], 2), ([], 0)],
)
def test_entropy(answers: list[str | None], bits: float):
    assert math.isclose(diversity.entropy(answers), bits, abs_tol=1e-12)
