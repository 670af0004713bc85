import pytest
from hypothesis import given
from hypothesis import strategies as st

from star_jax.tasks.equations.expressions import Expression, find
from star_jax.tasks.equations.tokens import tokens


def every(text: str) -> list[Expression]:
    return find(tokens(text))


# text; its expressions as they are written
CASES = [
    ("In 5 years he is 16 + 5 = 21 years old.", ["5", "16 + 5", "21"]),
    ("6 fixed comics + 5 comics", ["6 fixed comics + 5"]),
    ("$10/hour * 3 hours", ["$10/hour * 3"]),
    ("200 ml/blouse * 100 blouses", ["200 ml/blouse * 100"]),
    ("(2 + 3) * 4", ["(2 + 3) * 4"]),
    ("(he has 2 + 3)", ["2 + 3"]),
    ("2 * (3 + 4 = 7)", ["2", "3 + 4", "7"]),
    ("5(3) and 2 (4)", ["5(3)", "2", "(4)"]),
    ("50% of the 80", ["50% of the 80"]),
    ("3 of the 80", ["3", "80"]),
    ("2 + 3, 4 + 5; 6", ["2 + 3", "4 + 5", "6"]),
    ("8 - he goes", ["8"]),
    ("- 5 + 3", ["- 5 + 3"]),
    ("* 5 + 3", ["5 + 3"]),
    ("no numbers + here", ["+"]),
    ("", []),
]


@pytest.mark.parametrize(("text", "found"), CASES, ids=range(len(CASES)))
def test_expressions(text: str, found: list[str]):
    assert [text[run.start : run.end] for run in every(text)] == found


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("2x", True),
        ("3A + 2", True),
        ("3 x + 2", True),
        ("3 a day", False),
        ("√9 + 3", True),
        ("2 + 3 * A4", False),  # of 2 + 3
        ("cost - 3", True),
        ("1 + ... + 9", True),
        ("2 * + 3", True),
        ("5 - -3", False),
        ("x (5 + 3)", True),
        ("24 degrees/5% more", True),
    ],
)
def test_unknown_values(text: str, unknown: bool):
    assert every(text)[0].unknown is unknown


def test_attributes():
    first, second, _ = every("He sold 5 red apples and 3 green ones - 2 pears = 1?")
    assert first.words == ["red", "apples"] and first.before == ("he", "sold")
    assert second.previous is first and second.joints == [1]
    assert (second.closed, second.stop, second.tail) == ("=", "=", 1)
    (left, right) = every("8 = 8 - so it is")
    assert (left.closed, right.dangling, right.closed) == ("=", "-", "word")
    assert left.single and not second.single and second.signs == ["-"]
    assert every("- 5 + 3")[0].bullet and not every("-5 + 3")[0].bullet
    assert every("Weeks 1-2")[0].doubtful and not every("He has 1-2")[0].doubtful


@given(st.text("0123456789 .,:/+-*x×=%$()½²\\{}abc\n<>'", max_size=60) | st.text())
def test_spans_are_inside_the_text(text: str):
    for run in every(text):
        assert 0 <= run.start <= run.end <= len(text)
        assert all(0 <= joint < len(run.items) + 2 for joint in run.joints)


def test_a_part_before_an_open_bracket_keeps_its_own_joints():
    (head, tail) = every("0{0{")
    assert [item.text for item in head.items] == ["0"] and head.joints == []
    assert [item.text for item in tail.items] == ["0"] and tail.joints == [1]
