"""Exact values of expressions, in the ways that their writers may mean them."""

from collections.abc import Sequence
from fractions import Fraction

from star_jax.tasks.equations.tokens import Token

HUNDREDTH = Fraction(1, 100)
_MOST_ITEMS = 60  # of an expression; a longer one has no value
_MOST_BITS = 2000  # of a power
_FLOAT = Fraction(1, 10**13)  # share of a value that a calculator's last digits may differ by
_FLOAT_DECIMALS = 12  # decimals that only a calculator writes
_PARTS = (3, 6, 7, 8, 9, 11, 12, 13)  # fractions that decimals may be rounded from


def value(
    items: Sequence[Token],
    percent: Fraction = HUNDREDTH,
    tight: bool = False,
    unrounded: bool = False,
) -> Fraction | None:
    """Returns the value of an expression; None if it has none or is too long.

    Args:
        items: numbers, signs, brackets and percent signs.
        percent: factor that a percent sign stands for: a hundredth or one.
        tight: True if a fraction without spaces is one number, so that 6 / 1/2 is 12.
        unrounded: True if decimals such as 0.33 stand for the fraction that they are rounded from.
    """
    if not items or len(items) > _MOST_ITEMS:
        return None
    reader = _Reader(items, percent, tight, unrounded)
    try:
        result = reader.sum()
    except (_Unknown, ZeroDivisionError, IndexError):
        return None
    return result if reader.position == len(items) else None


def decimals(number: Token) -> int:
    """Returns the number of digits after the decimal point; 0 for fractions and whole numbers."""
    return 0 if "/" in number.text else len(number.text.partition(".")[2])


def half_unit(number: Token, percent: bool) -> Fraction:
    """Returns half a unit in the last place of a number, or of a percentage."""
    return Fraction(1, 2 * 10 ** (decimals(number) + 2 * percent))


def float_error(exact: Fraction, decimals: int) -> Fraction:
    """Returns how far the last of many decimals may be off: 0.1 + 0.2 = 0.30000000000000004.

    Args:
        exact: exact value.
        decimals: number of decimals that are written; few of them allow no error.
    """
    return abs(exact) * _FLOAT if decimals >= _FLOAT_DECIMALS else Fraction(0)


class _Unknown(Exception):
    pass


class _Reader:
    """A parser that evaluates what it reads."""

    def __init__(
        self, items: Sequence[Token], percent: Fraction, tight: bool, unrounded: bool
    ) -> None:
        self.items, self.position = items, 0
        self.percent, self.tight, self.unrounded = percent, tight, unrounded

    def take(self, *texts: str) -> str:
        """Takes the next item if it is one of these signs; returns "" if it is not."""
        if self.position < len(self.items):
            item = self.items[self.position]
            if item.kind in ("sign", "%") and item.text in texts:
                self.position += 1
                return item.text
        return ""

    def sum(self) -> Fraction:
        total = self.product()
        while sign := self.take("+", "-"):
            term = self.product()
            total += term if sign == "+" else -term
        return total

    def product(self) -> Fraction:
        product = self.factor()
        while sign := self.take("*", "/", "of"):
            factor = self.factor()
            product = product / factor if sign == "/" else product * factor
        return product

    def factor(self) -> Fraction:
        if sign := self.take("+", "-"):
            return self.factor() if sign == "+" else -self.factor()
        base = self.atom()
        while self.position < len(self.items) and self.items[self.position].text[0] == "^":
            exponent = int(self.items[self.position].text[1:])
            bits = max(base.numerator.bit_length(), base.denominator.bit_length())
            if bits * exponent > _MOST_BITS:
                raise _Unknown
            base **= exponent
            self.position += 1
        while self.take("%"):
            base *= self.percent
        return base

    def atom(self) -> Fraction:
        item = self.items[self.position]
        self.position += 1
        if item.kind == "number":
            number = self.number(item)
            if self.tight and self._is_tight():
                self.position += 2
                number /= self.items[self.position - 1].value
            return number
        if item.kind == "frac":
            above = self.group()
            return above / self.group()
        self.position -= 1
        return self.group()

    def group(self) -> Fraction:
        """Reads what is in brackets."""
        opens = self.items[self.position]
        if opens.kind != "(":
            raise _Unknown
        self.position += 1
        inner = self.sum()
        if self.items[self.position].kind != ")":
            raise _Unknown
        self.position += 1
        return inner

    def number(self, item: Token) -> Fraction:
        if not self.unrounded:
            return item.value
        percent = self.position < len(self.items) and self.items[self.position].kind == "%"
        return _unrounded(item, percent)

    def _is_tight(self) -> bool:
        """Returns whether the number just read and the next two items are like 1/2."""
        number, *rest = self.items[self.position - 1 : self.position + 2]
        if len(rest) < 2 or rest[0].text != "/" or rest[1].kind != "number":
            return False
        return number.end == rest[0].start and rest[0].end == rest[1].start


def _unrounded(number: Token, percent: bool) -> Fraction:
    """Returns the fraction that 0.33, 16.7 or 33% may be rounded from, else the number itself."""
    scale = 100 if percent else 1
    written, places = number.value / scale, decimals(number) + 2 * percent
    if "/" in number.text or not places:
        return number.value
    for parts in _PARTS if places > 1 else _PARTS[:1]:
        near = Fraction(round(written * parts), parts)
        cut = Fraction(int(near * 10**places), 10**places)
        if written != near and written in (cut, round(near, places)):
            return near * scale
    return number.value
