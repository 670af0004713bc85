"""Numbers in text: which there are, their canonical form, and the value of a written-out sum.

A number is decimal digits with, where there are any, a minus sign, a currency sign, commas between
groups of three, a decimal point and a percent sign: -3, $1,234.50, 50%, .5. Its canonical form is
the plain decimal without needless zeros: -3, 1234.5, 50, 0.5. The percent sign changes nothing:
50% is 50, as a question about per cent expects.

What only looks like one in part is none: a part must never pass for the whole. No number is read
out of 1/2, 10:30, 2^3, 1e5, 3x4, 1.2.3, 12,34, A4 or 5². Words after a number are not read (5
million is 5), nor is the unit of 30cm. A minus sign counts where nothing but a space or an opening
sign stands before it: 12-5 and COVID-19 end in 5 and 19, =-5 in -5.
"""

import re
from fractions import Fraction

MINUS = "−-"
MONEY = "$€£¥₹"
JOINTS = ".,/:^'"  # between digits they make one thing of two numbers, as in 10:30
RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹¼½¾"

_DIGITS = r"(?:[1-9][0-9]{0,2}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?|(?<![A-Za-z0-9.])\.[0-9]+"
# Not inside a word, and not where digits and one of these signs lead up to it or go on after it.
_BEFORE = rf"(?<![A-Za-z0-9_])(?<![0-9][{JOINTS}])(?<![0-9][eE][-+])"
_AFTER = rf"(?![0-9{RAISED}]|[{JOINTS}_]+[0-9]|[A-Za-z]+[-+]?[0-9])"
_MINUS = rf"(?<![A-Za-z0-9)%\]{MINUS}])(?P<minus>[{MINUS}])"
_SIGN = rf"(?:{_MINUS})?(?P<money>[{MONEY}](?P<late>[{MINUS}])?)?"
_NUMBER = re.compile(rf"{_SIGN}{_BEFORE}(?P<digits>{_DIGITS}){_AFTER}")
_WHOLE = re.compile(rf"\s*{_NUMBER.pattern}\s?%?\.?\s*")
_TOKEN = re.compile(rf"\s*(?:(?P<digits>{_DIGITS})|(?P<sign>[-+*/()%]))")
_MOST_NESTED = 50  # parentheses in one another: Python's own stack ends at a thousand calls


def canonical(text: str) -> str | None:
    """The canonical form of a text that is one number and nothing else; None for any other.

    Spaces around it are allowed, and a full stop after it.
    """
    match = _WHOLE.fullmatch(text)
    return _plain(match) if match else None


def leading(text: str) -> str | None:
    """The canonical form of the number that a text begins with; None if it begins with none."""
    match = _NUMBER.match(text)
    return _plain(match) if match else None


def last(text: str) -> str | None:
    """The canonical form of the last number in a text; None if there is none."""
    *_, match = (None, *_NUMBER.finditer(text))
    return _plain(match) if match else None


def every(text: str) -> set[str]:
    """The canonical forms of all numbers in a text."""
    return {_plain(match) for match in _NUMBER.finditer(text)}


def value(expression: str) -> Fraction | None:
    """The exact value of a sum such as "(3+4.5)*2", with + - * / % and parentheses.

    Here 50% is a half. Signs of other kinds (−, ×, x, ÷, $) and spaces are understood.

    Returns: None where the text is anything else, or nests more than 50 parentheses.

    Raises:
        ZeroDivisionError: it divides by zero.
    """
    try:
        tokens = _tokens(expression.translate(_PLAIN_SIGNS))
        found = _sum(tokens, 0)
    except (_NotASum, IndexError):
        return None
    return None if tokens else found


_PLAIN_SIGNS = str.maketrans({"−": "-", "×": "*", "x": "*", "÷": "/", "$": " "})


class _NotASum(Exception):
    pass


def _tokens(text: str) -> list[Fraction | str]:
    """The numbers and signs of a text, the first of them last."""
    tokens: list[Fraction | str] = []
    text, start = text.rstrip(), 0
    while start < len(text):
        match = _TOKEN.match(text, start)
        if match is None or len(match[0]) > 1000:
            raise _NotASum
        digits = match["digits"]
        tokens.append(Fraction(digits.replace(",", "")) if digits else match["sign"])
        start = match.end()
    return tokens[::-1]


def _sum(tokens: list[Fraction | str], nested: int) -> Fraction:
    total = _product(tokens, nested)
    while tokens and tokens[-1] in ("+", "-"):
        sign = tokens.pop()
        term = _product(tokens, nested)
        total += term if sign == "+" else -term
    return total


def _product(tokens: list[Fraction | str], nested: int) -> Fraction:
    product = _factor(tokens, nested)
    while tokens and tokens[-1] in ("*", "/"):
        sign = tokens.pop()
        factor = _factor(tokens, nested)
        product = product * factor if sign == "*" else product / factor
    return product


def _factor(tokens: list[Fraction | str], nested: int) -> Fraction:
    sign = 1
    while tokens[-1] in ("+", "-"):
        sign = -sign if tokens.pop() == "-" else sign
    factor = tokens.pop()
    if factor == "(" and nested < _MOST_NESTED:
        factor = _sum(tokens, nested + 1)
        if tokens.pop() != ")":
            raise _NotASum
    if isinstance(factor, str):
        raise _NotASum
    while tokens and tokens[-1] == "%":
        tokens.pop()
        factor /= 100
    return sign * factor


def _plain(match: re.Match[str]) -> str:
    """Without signs of money, commas and needless zeros; by string, however long it is."""
    whole, _, decimals = match["digits"].replace(",", "").partition(".")
    whole, decimals = whole.lstrip("0") or "0", decimals.rstrip("0")
    number = f"{whole}.{decimals}" if decimals else whole
    return f"-{number}" if (match["minus"] or match["late"]) and number != "0" else number
