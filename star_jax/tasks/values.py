"""Converts values of a row from any source to JSON's types, and each value to text.

A missing value is None: null, and what tables write instead (NaN, Infinity, NaT). So is a number
that no float can hold, such as 1e400. A number with a fraction or an exponent keeps the digits that
it was written with.
"""

import datetime
import decimal
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np


class Number(float):
    """A float with the digits that it was written with, which may exceed a float's precision.

    Attributes:
        digits: digits as written, such as "1.10", "2e-05" or "12345678901234567890.5".
    """

    digits: str

    def __new__(cls, digits: str) -> "Number":
        """Makes the number that `digits` spells.

        Raises:
            ValueError: it is no number, or not finite, or too small to differ from zero.
        """
        number = super().__new__(cls, digits)
        mantissa = digits.lower().partition("e")[0]
        if not math.isfinite(number) or number == 0 and mantissa.strip("+-0."):
            raise ValueError(f"no number that a float can hold: {digits[:40]}")
        number.digits = digits
        return number


def parse(text: str) -> Any:
    """Parses a JSON text.

    Raises:
        ValueError: it is no JSON.
        RecursionError: it is nested too deeply.
    """
    return json.loads(text, parse_float=number, parse_constant=lambda name: None)


def number(digits: str) -> Number | None:
    """Returns the number that `digits` spells; None if it is no number that a float can hold."""
    try:
        return Number(digits)
    except ValueError:
        return None


def native(value: Any) -> Any:
    """Converts a library's value to JSON's types, at any depth.

    Bytes become text, and dates and times ISO 8601. Decimals and NumPy's floats become the number
    that they are printed as (float32's 0.1 is 0.1). Other values that JSON lacks are unchanged.

    Raises:
        UnicodeDecodeError: bytes that are no UTF-8.
    """
    if isinstance(value, Mapping):
        return {name: native(inner) for name, inner in value.items()}
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if isinstance(value, list | tuple | np.ndarray):
        return [native(inner) for inner in value]
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, np.datetime64 | np.timedelta64):
        return None if np.isnat(value) else str(value)
    if isinstance(value, decimal.Decimal | np.floating):
        return number(str(value))
    if isinstance(value, np.generic):
        return native(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat() if value == value else None  # NaT is not itself
    return str(value) if isinstance(value, datetime.timedelta) else value


def text(value: object) -> str:
    """Returns a text, number, boolean, date or time as text; "" for anything else.

    Numbers are written plainly and without needless zeros: 0.00001, 20000000000000000, 1.1.
    """
    value = native(value)
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, Number):
        exact = decimal.Decimal(value.digits)
    elif isinstance(value, int):
        exact = decimal.Decimal(value)  # of any length: str() has a limit
    elif isinstance(value, float):
        exact = decimal.Decimal(repr(value))
    else:
        return ""
    digits = format(exact, "f")
    if "." in digits:
        digits = digits.rstrip("0").rstrip(".")
    return digits if digits.strip("-0.") else "0"
