import pytest

from star_jax.tasks.symbolic.coin_flip import CoinFlip
from star_jax.tasks.task import Problem

TASK = CoinFlip()
ASKED = (
    "A coin is heads up. Amy flips the coin. Carl does not flip the coin. "
    "Is the coin still heads up?"
)
GOLD = (
    "Amy flips the coin, so it is now tails up. "
    "Carl does not flip the coin, so it is still tails up."
)
PROBLEM = Problem("1", ASKED, "no", "", "2")


def test_text():
    assert TASK.solve(ASKED) == (GOLD, "no")
    assert TASK.prompt(PROBLEM, hint=True) == f"Q: {ASKED} (no)\nA:"
    assert TASK.completion(GOLD, "no") == f" {GOLD} The answer is no"


def test_the_answer_is_the_parity_of_the_flips():
    for problem in TASK.train(0, 1, 200) + TASK.evaluation(0, 50, 50):
        flips = problem.question.count(" flips the coin")
        assert problem.answer == ("yes" if flips % 2 == 0 else "no")
    answers = [problem.answer for problem in TASK.train(0, 1, 1000)]
    assert 0.45 < answers.count("yes") / 1000 < 0.55


@pytest.mark.parametrize(
    ("rationale", "wrong"),
    [
        (GOLD, False),
        (GOLD.replace("now ", "").replace("still ", ""), False),
        (GOLD.replace("tails", "heads"), True),  # the answer may be right by luck all the same
        (GOLD.replace("Carl does not flip", "Carl flips"), True),
        (GOLD.partition(". ")[0] + ".", True),
        ("The coin was flipped once.", None),
    ],
)
def test_wrong_steps(rationale: str, wrong: bool | None):
    assert TASK.wrong_step(PROBLEM, TASK.completion(rationale, "no")) is wrong


def test_steps():
    assert TASK.steps(PROBLEM, GOLD) == ("Amy, flips, tails", "Carl, does not flip, tails")


@pytest.mark.parametrize("seed", range(8))
def test_worked_examples_show_every_pattern_of_flips_as_often(seed: int):
    # Drawn freely, all four of seed 0 were "does not flip, flips".
    patterns = [
        tuple("does not" in action for action in problem.question.split(".")[1:3])
        for problem in TASK.few_shot(seed, 8)
    ]
    assert all(patterns.count(pattern) == 2 for pattern in patterns)
    assert len(set(patterns[:4])) == 4
    assert TASK.few_shot(seed, 4) == TASK.few_shot(seed, 8)[:4]
