"""Evaluates an expression's numbers and signs exactly, in the ways that pupils may mean them."""

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from star_jax.tasks.equation_tokens import Token

_MOST_ITEMS = 60  # of an expression; a longer one has no value
_MOST_BITS = 2000  # of a power

HUNDREDTH = Fraction(1, 100)


class Range(NamedTuple):
    """The range of a value; both ends are equal if it is exact."""

    low: Fraction
    high: Fraction


class _Unknown(Exception):
    pass


def exact(items: Sequence[Token], percent: Fraction = HUNDREDTH, tight: bool = False):
    """Returns the exact value; None if it has none. See `value`."""
    found = value(items, percent, tight)
    return None if found is None else found.low


def value(
    items: Sequence[Token],
    percent: Fraction = HUNDREDTH,
    tight: bool = False,
    rounded: bool = False,
) -> Range | None:
    """Returns the value of an expression; None if it has none, or is too long to be evaluated.

    Args:
        items: numbers, signs, brackets and percent signs.
        percent: what a percent sign multiplies by: a hundredth or one.
        tight: True if 1/2 without spaces is one number, so that 6 / 1/2 is 12.
        rounded: True if decimals that look like a rounded third, sixth, seventh or ninth (0.33)
            have the range of what they may be rounded from.
    """
    if not items or len(items) > _MOST_ITEMS:
        return None
    reader = _Reader(items, percent, tight, rounded)
    try:
        result = reader.sum()
    except (_Unknown, ZeroDivisionError, IndexError):
        return None
    return result if reader.position == len(items) else None


class _Reader:
    def __init__(self, items: Sequence[Token], percent: Fraction, tight: bool, rounded: bool):
        self.items, self.position = items, 0
        self.percent, self.tight, self.rounded = percent, tight, rounded

    def next(self, *texts: str) -> str:
        """Takes the next item if it is one of these signs; "" if it is not."""
        if self.position < len(self.items):
            item = self.items[self.position]
            if item.kind not in ("number", "frac") and item.text in texts:
                self.position += 1
                return item.text
        return ""

    def sum(self) -> Range:
        total = self.product()
        while sign := self.next("+", "-"):
            term = self.product()
            if sign == "+":
                total = Range(total.low + term.low, total.high + term.high)
            else:
                total = Range(total.low - term.high, total.high - term.low)
        return total

    def product(self) -> Range:
        product = self.factor()
        while sign := self.next("*", "/", "//"):
            factor = self.factor()
            if sign != "*":
                if factor.low <= 0 <= factor.high:
                    raise ZeroDivisionError
                factor = Range(1 / factor.high, 1 / factor.low)
            product = _times(product, factor)
        return product

    def factor(self) -> Range:
        if sign := self.next("+", "-"):
            factor = self.factor()
            return factor if sign == "+" else Range(-factor.high, -factor.low)
        base = self.atom()
        while self.position < len(self.items) and self.items[self.position].text[0] == "^":
            exponent = int(self.items[self.position].text[1:])
            bits = max(base.low.numerator.bit_length(), base.low.denominator.bit_length())
            if bits * exponent > _MOST_BITS or base.low != base.high:
                raise _Unknown
            base = Range(base.low**exponent, base.low**exponent)
            self.position += 1
        while self.next("%"):
            base = Range(base.low * self.percent, base.high * self.percent)
        return base

    def atom(self) -> Range:
        item = self.items[self.position]
        self.position += 1
        if item.kind == "number":
            number = Range(item.value, item.value)
            if self.rounded:
                percent = self.position < len(self.items) and self.items[self.position].kind == "%"
                number = _as_rounded(item, percent)
            if self.tight and self._is_tight():
                self.position += 2
                below = self.items[self.position - 1].value
                number = Range(number.low / below, number.high / below)
            return number
        if item.kind == "(":
            inner = self.sum()
            self.close()
            return inner
        if item.kind == "frac":
            above, below = self.group(), self.group()
            if below.low <= 0 <= below.high:
                raise ZeroDivisionError
            return _times(above, Range(1 / below.high, 1 / below.low))
        raise _Unknown

    def group(self) -> Range:
        if self.items[self.position].kind != "(":
            raise _Unknown
        return self.atom()

    def close(self) -> None:
        if self.items[self.position].kind != ")":
            raise _Unknown
        self.position += 1

    def _is_tight(self) -> bool:
        """Returns whether the number just read and the next two items are a fraction such as 1/2."""
        number, *rest = self.items[self.position - 1 : self.position + 2]
        if len(rest) < 2 or rest[0].text != "/" or rest[1].kind != "number":
            return False
        return number.end == rest[0].start and rest[0].end == rest[1].start


def _times(a: Range, b: Range) -> Range:
    if a.low == a.high and b.low == b.high:
        return Range(a.low * b.low, a.low * b.low)
    corners = [x * y for x in a for y in b]
    return Range(min(corners), max(corners))


def decimals(number: Token) -> int:
    """Returns the number of digits after the decimal point; 0 for fractions and whole numbers."""
    return 0 if "/" in number.text else len(number.text.partition(".")[2])


def _as_rounded(number: Token, percent: bool) -> Range:
    """Returns the range of what a number such as 0.33, 16.7 or 33% may be rounded from."""
    scale = 100 if percent else 1
    value, places = number.value / scale, decimals(number) + 2 * percent
    unit = Fraction(1, 10**places)
    for parts in (3, 6, 7, 9) if places > 1 else (3,):
        nearest = Fraction(round(value * parts), parts)
        endless = nearest.denominator % 3 == 0 or nearest.denominator % 7 == 0
        if endless and places and abs(value - nearest) <= unit and "/" not in number.text:
            return Range((value - unit) * scale, (value + unit) * scale)
    return Range(number.value, number.value)
