import pytest

from star_jax.tasks.symbolic import last_letters
from star_jax.tasks.symbolic.last_letters import LastLetters
from star_jax.tasks.task import Problem

TASK = LastLetters()
ASKED = 'Take the last letters of the words in "Amy Brown" and concatenate them.'
GOLD = (
    'The last letter of "Amy" is "y". The last letter of "Brown" is "n". Concatenating them is '
    '"yn".'
)
PROBLEM = Problem("1", ASKED, "yn", "", "2")


def test_text():
    assert TASK.solve(ASKED) == (GOLD, "yn")
    assert TASK.prompt(PROBLEM, hint=False) == f"Q: {ASKED}\nA:"
    assert TASK.prompt(PROBLEM, hint=True) == f"Q: {ASKED} (yn)\nA:"
    assert TASK.completion(GOLD, "yn") == f" {GOLD} The answer is yn"
    assert TASK.direct(PROBLEM) == " yn"


@pytest.mark.parametrize(
    ("rationale", "wrong"),
    [
        (GOLD, False),
        (GOLD.replace('"n"', '"N"'), False),
        (GOLD.replace("The last", "So the last"), False),
        (GOLD.replace('"y"', '"A"'), True),
        (GOLD.replace('"yn"', '"ny"'), True),
        (GOLD.replace('"Brown"', '"Browne"'), True),
        (GOLD.partition(" Concatenating")[0], True),  # the step that makes the answer is missing
        (GOLD.partition(". ")[2], True),
        ('Concatenating them is "yn".', True),
        ("It ends in y and n.", None),
        ("", None),
    ],
)
def test_wrong_steps(rationale: str, wrong: bool | None):
    assert TASK.wrong_step(PROBLEM, TASK.completion(rationale, "yn")) is wrong


def test_steps_are_the_same_in_other_words():
    other = GOLD.replace("The last", "the last").replace(". ", ", and ")
    assert TASK.steps(PROBLEM, other) == TASK.steps(PROBLEM, GOLD) == ("Amy: y", "Brown: n", "yn")


def test_new_names_are_in_their_own_class_alone():
    for problem in TASK.train(0, 1, 300) + TASK.few_shot(0, 10) + TASK.evaluation(0, 50, 50):
        words = problem.question.split('"')[1].split()
        assert {last_letters.is_new(word) for word in words} == {problem.group == "new"}
        assert len(words) == len({*words}) == (2 if problem.group == "new" else int(problem.group))
