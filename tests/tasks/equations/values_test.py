from fractions import Fraction

import pytest

from star_jax.tasks.equations.tokens import tokens
from star_jax.tasks.equations.values import decimals, half_unit, value


@pytest.mark.parametrize(
    ("text", "exact"),
    [
        ("2 + 3 * 4", 14),
        ("(2 + 3) * 4", 20),
        ("10 - 4 - 3", 3),
        ("24 / 4 / 2", 3),
        ("-5 + 3", -2),
        ("2 * -3", -6),
        ("50%", Fraction(1, 2)),
        ("20% * 50", 10),
        ("2^3^2", 64),
        ("5²", 25),
        (r"\frac{1}{2} * 3", Fraction(3, 2)),
        (r"\frac{1 + 2}{2 * 3}", Fraction(1, 2)),
        ("0.1 + 0.2", Fraction(3, 10)),
        ("1 1/2 * 2", 3),
        ("1/0", None),
        ("2 +", None),
        ("(2 + 3", None),
        ("2 3", None),
        (") 2", None),
        ("", None),
        ("9^99^99", None),
        ("+".join(["1"] * 31), None),
    ],
)
def test_values(text: str, exact: Fraction | int | None):
    assert value(tokens(text)) == exact


def test_readings():
    assert value(tokens("20% * 50"), percent=Fraction(1)) == 1000
    assert value(tokens("6 / 1/2")) == 3
    assert value(tokens("6 / 1/2"), tight=True) == 12
    assert value(tokens("6 / 1 / 2"), tight=True) == 3


@pytest.mark.parametrize(
    ("text", "exact"),
    [
        ("0.33", Fraction(1, 3)),
        ("3.33", Fraction(10, 3)),
        ("0.66", Fraction(2, 3)),
        ("0.67", Fraction(2, 3)),
        ("16.7", Fraction(50, 3)),
        ("33%", Fraction(1, 3)),
        ("0.4", Fraction(2, 5)),
        ("0.25", Fraction(1, 4)),
        ("7", 7),
    ],
)
def test_what_decimals_are_rounded_from(text: str, exact: Fraction | int):
    assert value(tokens(text), unrounded=True) == exact


def test_places():
    number, money, fraction, whole = (tokens(text)[0] for text in ("3.50", "$7.125", "1½", "12"))
    assert [decimals(n) for n in (number, money, fraction, whole)] == [2, 3, 0, 0]
    assert half_unit(number, percent=False) == Fraction(1, 200)
    assert half_unit(whole, percent=True) == Fraction(1, 200)
