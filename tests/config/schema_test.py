"""The schema by itself; what settings make of it is in config/validation_test.py."""

import dataclasses
import math

import pytest

from star_jax.config import schema, validation
from star_jax.config.schema import Allowed

WHOLE = Allowed(int, "[1, 20]")
SHARE = Allowed(float, "(0, 1]")
OPEN = Allowed(float, "[0, 1)")
ENDLESS = Allowed(float, "[0, inf)")
AXIS = Allowed(int, "[1, inf)", also=-1)
SWITCH = Allowed(bool)
CHOICE = Allowed(str, choices=("float32", "bfloat16"))
TEXT = Allowed(str)


@pytest.mark.parametrize("path", validation.SETTINGS)
def test_every_setting_has_a_meaning_and_an_allowed_default(path: str):
    field = validation.SETTINGS[path]
    assert field.metadata["help"]
    assert field.metadata["allowed"].admits(field.default)
    assert isinstance(field.default, field.metadata["allowed"].kind)


def test_sections_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(schema.Settings(), "seed", 3)  # noqa: B010  (a plain assignment fails the type check)


@pytest.mark.parametrize(
    ("allowed", "yes", "no"),
    [
        (WHOLE, [1, 20], [0, 21, 1.0, True, "1", None, [1]]),
        (SHARE, [1e-9, 0.5, 1, 1.0], [0, 0.0, 1.1, math.nan, True, "0.5"]),
        (OPEN, [0, 0.999], [-1e-9, 1, 1.0]),
        (ENDLESS, [0, 1e300], [-1, math.inf, math.nan]),
        (AXIS, [-1, 1, 8], [0, -2, -1.0]),
        (SWITCH, [True, False], [0, 1, "true", None]),
        (CHOICE, ["float32"], ["float16", "", 32, True, None]),
        (TEXT, ["", "runs/base"], [1, 1.5, True, None]),
    ],
)
def test_admits(allowed: Allowed, yes: list, no: list):
    assert [value for value in yes if not allowed.admits(value)] == []
    assert [value for value in no if allowed.admits(value)] == []


@pytest.mark.parametrize(
    ("allowed", "text", "value"),
    [
        (WHOLE, "3", 3),
        (WHOLE, "3.5", "3.5"),
        (SHARE, "3e-4", 3e-4),
        (SHARE, "half", "half"),
        (SWITCH, "false", False),
        (SWITCH, "True", True),
        (SWITCH, "0", False),
        (SWITCH, "maybe", "maybe"),
        (CHOICE, "float32", "float32"),
    ],
)
def test_read(allowed: Allowed, text: str, value: object):
    assert allowed.read(text) == value
    assert type(allowed.read(text)) is type(value)


@pytest.mark.parametrize(
    ("allowed", "phrase"),
    [
        (WHOLE, "a whole number in [1, 20]"),
        (SHARE, "a number in (0, 1]"),
        (AXIS, "a whole number in [1, inf), or -1"),
        (SWITCH, "true or false"),
        (CHOICE, "'float32' or 'bfloat16'"),
        (TEXT, "a string"),
    ],
)
def test_says_what_it_admits(allowed: Allowed, phrase: str):
    assert str(allowed) == phrase
