from star_jax.tasks.task import Problem
from tests.support.samples import sample


def test_a_sample_names_its_problem_without_the_gold_rationale():
    one = sample("7", correct=True)
    wanted = Problem("7", one.question, one.answer, "", one.group, tuple(one.choices))
    assert one.problem == wanted
