import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from star_jax import tasks
from star_jax.grading import Verdict, grade
from star_jax.tasks import Problem

TASK = tasks.make("arithmetic")
PROBLEM = Problem("624+259", "6 2 4 + 2 5 9", "883", "", "3")


@pytest.mark.parametrize(
    ("completion", "truncated", "direct", "verdict"),
    [
        ("<scratch>\n</scratch>\n8 8 3", False, False, Verdict("883", True)),
        ("<scratch>\n</scratch>\n0 8 8 3", False, False, Verdict("883", True)),
        ("<scratch>\n</scratch>\n8 8 4", False, False, Verdict("884", False)),
        ("<scratch>\n</scratch>\n8 8", False, False, Verdict("88", False)),
        ("<scratch>\n</scratch>\n8 8 3 0", False, False, Verdict("8830", False)),
        ("<scratch>\n</scratch>\n", False, False, Verdict(None, False)),
        ("8 8 3", False, False, Verdict(None, False)),
        ("8 8 3", False, True, Verdict("883", True)),
        ("8 8 4", False, True, Verdict("884", False)),
        ("<scratch>\n</scratch>\n8 8 3", False, True, Verdict(None, False)),
        # 8 8 3 may have been on its way to 8 8 3 0
        ("<scratch>\n</scratch>\n8 8 3", True, False, Verdict("883", False)),
        ("8 8 3", True, True, Verdict("883", False)),
        ("<scratch>\n6 2 4", True, False, Verdict(None, False)),
    ],
)
def test_grade(completion: str, truncated: bool, direct: bool, verdict: Verdict):
    found = grade(TASK, PROBLEM, completion, truncated=truncated, direct=direct)
    assert found == verdict


@settings(deadline=None)
@given(st.text("0123456789 \n</scrath>x", max_size=60), st.booleans())
def test_nothing_but_the_gold_answer_is_right(completion: str, direct: bool):
    verdict = grade(TASK, PROBLEM, completion, truncated=False, direct=direct)
    assert verdict.correct == (verdict.predicted == PROBLEM.answer)
    if verdict.correct:
        last_line = completion.rstrip("\n").rpartition("\n")[2]
        assert int(last_line.replace(" ", "")) == 883


@pytest.mark.parametrize("seed", range(3))
def test_every_gold_completion_is_right_and_no_other_problems(seed: int):
    problems = TASK.evaluation(seed, 20, 5)
    for problem, other in zip(problems, problems[1:] + problems[:1], strict=True):
        gold = TASK.completion(problem.rationale, problem.answer)
        assert grade(TASK, problem, gold, truncated=False).correct
        assert grade(TASK, other, gold, truncated=False).correct == (other.answer == problem.answer)
