from fractions import Fraction

import pytest

from star_jax.tasks.equations import units


@pytest.mark.parametrize(
    ("before", "words", "changed"),
    [
        ("half of", "", True),
        ("a third of the", "", True),
        ("two-thirds of", "", True),
        ("twice", "", True),
        ("three boxes of", "", True),
        ("two", "packs", True),
        ("a total of", "apples", False),
        ("the third day", "", False),
        ("", "remainder", True),
        ("", "pm", True),
        ("", "remaining", False),
        ("", "", False),
    ],
)
def test_words_that_change_a_sum(before: str, words: str, changed: bool):
    assert units.changes(before.split(), words.split()) is changed


def test_denials_and_roundings():
    assert units.is_denied(["it", "is", "not"], [])
    assert units.is_denied([], ["is", "wrong"])
    assert not units.is_denied(["not", "that", "many"], ["apples"])
    assert units.is_rounded(["approximately"]) and not units.is_rounded(["apples"])


@pytest.mark.parametrize(
    ("left", "right", "ours", "theirs", "additive", "converts"),
    [
        (120, 2, "minutes", "hours", False, True),
        (120, 2, "", "hours", False, True),
        (120, 3, "", "hours", False, False),
        (120, 2, "hours", "hours", False, False),
        (33, 3, "hours minutes", "hours", True, True),
        (75, Fraction(3, 4), "cents", "$", False, True),
        (15, 15000, "", "$", False, True),
        (24, 2, "", "dozen", False, True),
        (8, 30, "dozen", "", True, True),
        (23, 27, "", "dozen", True, False),
        (5, 2, "", "", True, False),
        (0, 2, "", "hours", False, False),
    ],
)
def test_conversions(left: int, right: int, ours: str, theirs: str, additive: bool, converts: bool):
    sides = [ours.split(), theirs.split()]
    assert units.converts(Fraction(left), Fraction(right), sides, additive) is converts


def test_units():
    assert units.are_units(["feet"]) and units.are_units(["dollars", "and"])
    assert not units.are_units(["apples"]) and not units.are_units([])
