import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from star_jax.grading.grade import grade
from star_jax.tasks import Problem
from star_jax.tasks.arithmetic import Arithmetic

TASK = Arithmetic()
PROBLEM = Problem("624+259", "6 2 4 + 2 5 9", "883", "", "3")


@pytest.mark.parametrize(
    ("completion", "truncated", "direct", "predicted", "correct"),
    [
        ("<scratch>\n</scratch>\n8 8 3", False, False, "883", True),
        ("<scratch>\n</scratch>\n0 8 8 3", False, False, "883", True),
        ("<scratch>\n</scratch>\n8 8 4", False, False, "884", False),
        ("<scratch>\n</scratch>\n8 8", False, False, "88", False),
        ("<scratch>\n</scratch>\n8 8 3 0", False, False, "8830", False),
        ("<scratch>\n</scratch>\n", False, False, None, False),
        ("8 8 3", False, False, None, False),
        ("8 8 3", False, True, "883", True),
        ("8 8 4", False, True, "884", False),
        ("<scratch>\n</scratch>\n8 8 3", False, True, None, False),
        # 8 8 3 may have been on its way to 8 8 3 0
        ("<scratch>\n</scratch>\n8 8 3", True, False, "883", False),
        ("8 8 3", True, True, "883", False),
        ("<scratch>\n6 2 4", True, False, None, False),
    ],
)
def test_grade(
    completion: str, truncated: bool, direct: bool, predicted: str | None, correct: bool
):
    found = grade(TASK, PROBLEM, completion, truncated=truncated, direct=direct)
    assert (found.predicted, found.correct, found.exact) == (predicted, correct, correct)
    # the last line alone, whatever comes before it
    lenient = TASK.flexible(PROBLEM, completion) == "883" and not truncated
    assert found.flexible == lenient
    other = grade(TASK, PROBLEM, completion, truncated=truncated, direct=direct, rule="flexible")
    assert (other.correct, other.exact, other.flexible) == (lenient, correct, lenient)


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
