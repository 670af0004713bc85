"""The development split and the order of problems are functions of the seed and the question."""

import pytest

from star_jax.tasks import splits
from star_jax.tasks.task import Problem

PROBLEMS = [Problem(str(i), f"What is {i}?", "a", "", "what") for i in range(2000)]


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5])
def test_the_share_is_held_out(share: float):
    held_out = sum(splits.held_out(problem, 0, share) for problem in PROBLEMS)
    assert held_out == pytest.approx(share * len(PROBLEMS), rel=0.25)


def test_what_is_held_out_is_the_seeds_choice():
    assert [splits.held_out(p, 0, 0.1) for p in PROBLEMS] != [
        splits.held_out(p, 1, 0.1) for p in PROBLEMS
    ]
    assert all(splits.held_out(p, 0, 0.2) for p in PROBLEMS if splits.held_out(p, 0, 0.1))


def test_what_is_held_out_stays_so():
    held_out = [problem.id for problem in PROBLEMS[:500] if splits.held_out(problem, 0, 0.01)]
    assert held_out == ["78", "97", "159", "259", "327", "384", "409", "412", "483"]


def test_spaces_and_ids_do_not_matter_to_it():
    for i in range(50):
        a = Problem("a", f"What is {i} ?", "a", "", "what")
        b = Problem("b", f" What\nis  {i} ? ", "b", "", "other")
        assert splits.held_out(a, 3, 0.5) == splits.held_out(b, 3, 0.5)


def test_half_of_a_character_can_be_hashed():
    assert splits.held_out(Problem("a", "\ud800", "a", "", "what"), 0, 1.0)


def test_rounds_train_on_the_same_problems_in_another_order():
    first, second = (splits.train(PROBLEMS, 0, round, 100) for round in (1, 2))
    assert first != second
    assert sorted(p.id for p in first) == sorted(p.id for p in second)
    assert first == splits.train(PROBLEMS, 0, 1, 100)
    assert {p.id for p in first} != {p.id for p in splits.train(PROBLEMS, 1, 1, 100)}


@pytest.mark.parametrize("count", [0, 1, 1999, 2000, 5000])
def test_counts(count: int):
    most = min(count or 2000, 2000)
    for found in (
        splits.train(PROBLEMS, 0, 1, count),
        splits.evaluation(PROBLEMS, 0, count),
        splits.test(PROBLEMS, count),
    ):
        assert len(found) == len({problem.id for problem in found}) == most


def test_fewer_are_the_first_of_more():
    assert splits.evaluation(PROBLEMS, 0, 10) == splits.evaluation(PROBLEMS, 0, 50)[:10]
    assert splits.test(PROBLEMS, 10) == splits.test(PROBLEMS, 0)[:10]
    few, more = (splits.train(PROBLEMS, 0, 1, count) for count in (10, 50))
    assert {p.id for p in few} < {p.id for p in more}
