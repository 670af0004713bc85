"""What a value is, whichever library it comes from, and how it is written."""

import datetime
import decimal
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from star_jax.tasks import values

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("3", "3"),
        ("-3", "-3"),
        ("1.10", "1.1"),
        ("4.0", "4"),
        ("100", "100"),
        ("1E2", "100"),
        ("3.5e-06", "0.0000035"),
        ("-4e17", "-400000000000000000"),
        ("98765432109876543210.25", "98765432109876543210.25"),
        ("0.1000000000000000055511151231257827", "0.1000000000000000055511151231257827"),
        ("-0.0", "0"),
        ("0e-7", "0"),
        ("9" * 4000, "9" * 4000),
        ("true", "true"),
        ('"1e400 NaN"', "1e400 NaN"),
        ("null", ""),
        ("NaN", ""),
        ("-Infinity", ""),
        ("1e400", ""),
        ("-1.5E+999999999999", ""),
        ("3e-400", ""),
        ("[1.5]", ""),
    ],
)
def test_a_json_value_as_text(written: str, text: str):
    assert values.text(values.parse(written)) == text


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers())
def test_the_text_of_a_number_is_that_number(number: float):
    written = values.text(number)
    assert float(written) == number if isinstance(number, float) else int(written) == number
    assert set(written) <= set("-0123456789.")
    assert values.text(values.parse(json.dumps(number))) == written


@pytest.mark.parametrize(
    "value", [NAN, INF, -INF, None, [1], {"a": 1}, np.float64("nan"), object()]
)
def test_what_has_no_text(value: object):
    assert values.text(value) == ""


def test_a_number_is_a_float_with_its_digits():
    number = values.parse("2.50")
    assert number == 2.5 and number * 2 == 5 and number.digits == "2.50"
    assert json.dumps([number]) == "[2.5]"
    assert values.text(10**5000) == "1" + "0" * 5000  # which str() refuses
    with pytest.raises(ValueError, match="no number that a float can hold: 1e309"):
        values.Number("1e309")


@pytest.mark.parametrize(
    ("value", "native", "text"),
    [
        (np.float32(0.1), 0.1, "0.1"),
        (np.float16(0.1), 0.1, "0.1"),
        (np.float32(1e-6), 1e-06, "0.000001"),
        (np.float64(2.5), 2.5, "2.5"),
        (np.array(7), 7, "7"),
        (np.int64(-3), -3, "-3"),
        (np.bool_(True), True, "true"),
        (np.str_("a"), "a", "a"),
        (b"\xc3\xa9", "é", "é"),
        (decimal.Decimal("12.50"), 12.5, "12.5"),
        (decimal.Decimal("0.00001"), 1e-05, "0.00001"),
        (decimal.Decimal("1234567890123456789012345.75"), 1.2345678901234568e24, "1234567890123456789012345.75"),
        (datetime.date(1999, 3, 31), "1999-03-31", "1999-03-31"),
        (datetime.datetime(1999, 3, 31, 7, 5), "1999-03-31T07:05:00", "1999-03-31T07:05:00"),
        (datetime.time(7, 5), "07:05:00", "07:05:00"),
        (datetime.timedelta(hours=2), "2:00:00", "2:00:00"),
        (np.datetime64("1999-03-31"), "1999-03-31", "1999-03-31"),
        (NAN, None, ""),
        (-INF, None, ""),
        (np.float32("inf"), None, ""),
        (np.datetime64("NaT", "s"), None, ""),
        (decimal.Decimal("NaN"), None, ""),
        (None, None, ""),
        (True, True, "true"),
        (1.5, 1.5, "1.5"),
    ],
)  # fmt: skip
def test_values_of_libraries(value: object, native: object, text: str):
    found = values.native(value)
    assert found == native and isinstance(found, type(native))
    assert values.text(found) == values.text(value) == text


def test_values_are_found_however_deep():
    value: dict[str, Any] = {
        "a": (np.array([[0.1, NAN]], np.float32), [{"b": b"x"}]),
        "c": [[1], [1, 2]],
    }
    assert values.native(value) == {"a": [[[0.1, None]], [{"b": "x"}]], "c": [[1], [1, 2]]}
    assert values.parse('{"a": [1.50, {"b": NaN}], "c": 1e999}') == {
        "a": [1.5, {"b": None}],
        "c": None,
    }
    with pytest.raises(UnicodeDecodeError):
        values.native([b"\xff"])


def test_pandas_has_values_for_what_is_missing():
    pandas = pytest.importorskip("pandas")
    assert values.native([pandas.NaT, pandas.Timestamp("1999-03-31")]) == [
        None,
        "1999-03-31T00:00:00",
    ]
    assert values.text(values.native(pandas.NA)) == ""
    assert math.isfinite(values.native(np.float64(1)))
