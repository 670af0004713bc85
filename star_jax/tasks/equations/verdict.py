"""Says whether the two sides of an equation are equal, if that can be told.

False is said only if no honest reading of the text makes it true. Pupils round, leave units and
brackets out, go on after a result (2 + 3 = 5 * 4 = 20), and write per cent in several ways.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from star_jax.tasks.equations import units
from star_jax.tasks.equations.expressions import Expression
from star_jax.tasks.equations.tokens import Token
from star_jax.tasks.equations.values import HUNDREDTH, decimals, float_error, half_unit, value

_ONE = Fraction(1)
_JOINTS = 6  # joints of a side that are tried
_LINKS = 3  # most words between numbers that may belong together: "5 apples and 3 + 2"
_RESULTS = {"product", "difference", "quotient", "ratio", "average", "mean", "lcm", "gcd"}
_APART = {"so", "because", "is", "was", "are", "means", "total", "has", "have", "had", "then"}
_SO = {"so", "thus", "therefore", "hence", "then", "and", "is", "because", "that", "since"}
_NEAR = Fraction(1, 10)  # share of a value that "about" may differ by


@dataclass(frozen=True)
class _Sides:
    """The two sides of an equation."""

    left: Expression
    right: Expression

    def __iter__(self) -> Iterator[Expression]:
        return iter((self.left, self.right))

    def has(self, *kinds: str) -> bool:
        return any(item.kind in kinds for side in self for item in side.items)


def holds(left: Expression, right: Expression, again: bool = False) -> bool | None:
    """Returns whether an equation holds; None if that cannot be told.

    Args:
        left: its left side.
        right: its right side. If an "=" closes it, the equation goes on.
        again: True if the left side is the right side of the equation before.
    """
    if left.unknown or right.unknown or left.dangling or right.dangling not in ("", "-", "*", "("):
        return None
    if left.variable or right.dangling == "*" and right.closed == "word":
        return None
    ours, theirs = value(left.items), value(right.items)
    if ours is None or theirs is None:
        return None
    sides = _Sides(left, right)
    if left.single and right.single:
        return _numbers_hold(sides, ours == theirs, again)
    if _means(sides, ours, theirs):
        return True
    if left.doubtful or right.doubtful or right.dangling or right.stop == "?":
        return None
    if left.single and (left.tail or left.before and left.before[-1] not in _SO):
        return None  # "8 batches = 5 * 8"
    if left.previous and left.previous.dangling:
        return None
    if any(item.loose and item.kind == "number" for side in sides for item in side.items):
        return None
    return None if _may_mean(sides, ours, theirs) else False


def _numbers_hold(sides: _Sides, equal: bool, again: bool) -> bool | None:
    """Returns whether "30 = 31" holds, which tells something only after "5 * 6 = 30"."""
    if not again:
        return None
    bare = not (sides.left.words or sides.right.words or sides.has("%"))
    plain = all(item.text.isdigit() for side in sides for item in side.items)
    return True if equal else False if bare and plain else None


def _means(sides: _Sides, ours: Fraction, theirs: Fraction) -> bool:
    """Returns whether the equation holds as it is written."""
    left, right = sides
    if _same(sides, ours, theirs):
        return True
    if left.bullet and _same(sides, value(left.items[1:]), theirs):
        return True
    for tight in itertools.product((False, True), repeat=2):
        if _same(sides, value(left.items, tight=tight[0]), value(right.items, tight=tight[1])):
            return True
    if right.closed == "=" and not right.single:
        first = next(_beginnings(right))
        if _equal_or_rounded(ours, value(first), first):
            return True
    percent = right.single and right.items[-1].kind == "%"
    if percent and not any(item.kind == "%" for item in left.items):
        return _same(sides, ours, value(right.items, percent=_ONE))
    return False


def _may_mean(sides: _Sides, ours: Fraction, theirs: Fraction) -> bool:
    """Returns whether an honest writer may have meant something that holds."""
    left, right = sides
    words = {*left.words, *right.words}
    if units.is_denied(left.before, right.words) or units.changes(left.before, words):
        return True
    near = abs(ours - theirs) <= _NEAR * max(abs(ours), abs(theirs))
    if near and units.is_rounded({*words, *left.before}):
        return True
    if _is_time(sides, ours, theirs) or _is_percentage(sides, ours, theirs):
        return True
    sums = any(sign in ("+", "-") for side in sides for sign in side.signs)
    measures = [{*side.words, *("$" for item in side.items if "$" in item.text)} for side in sides]
    return (
        _is_cut(sides, ours, theirs)
        or _is_share(left, right, theirs)
        or _is_share(right, left, ours)
        or _percent_differs(sides)
        or _same(sides, value(left.items, unrounded=True), value(right.items, unrounded=True))
        or _respelt(sides, ours, theirs)
        or _is_joined(sides, ours, theirs)
        or units.converts(ours, theirs, measures, sums)
    )


def _is_time(sides: _Sides, ours: Fraction, theirs: Fraction) -> bool:
    """Returns whether a difference is one of clock times: "9 - 5 = 8 hours"."""
    words = {*sides.left.words, *sides.right.words}
    halves = abs(ours - theirs), ours + theirs
    return not {12, 24}.isdisjoint(halves) and not words.isdisjoint(("hour", "hours", "hrs"))


def _is_percentage(sides: _Sides, ours: Fraction, theirs: Fraction) -> bool:
    """Returns whether a result is in per cent, and only the words before it say so."""
    said = any(word.startswith("percent") for word in (*sides.left.before, *sides.right.words))
    return said and _same(sides, 100 * ours, theirs)


def _same(sides: _Sides, ours: Fraction | None, theirs: Fraction | None) -> bool:
    """Returns whether two values are equal, or one is the other as it is rounded."""
    if ours is None or theirs is None:
        return False
    rounded = sides.right.single and _equal_or_rounded(ours, theirs, sides.right.items)
    return rounded or _equal_or_rounded(theirs, ours, sides.left.items if sides.left.single else [])


def _equal_or_rounded(exact: Fraction, written: Fraction | None, items: Sequence[Token]) -> bool:
    """Returns whether a value is the one written by `items`, to its last decimal."""
    if written is None or exact == written:
        return written is not None
    number, percent = _number(items)
    if number is None or "." not in number.text:
        return False
    half = half_unit(number, percent)
    return abs(exact - written) <= max(half, float_error(exact, decimals(number)))


def _number(items: Sequence[Token]) -> tuple[Token | None, bool]:
    """Returns the number that is all of an expression, and whether it is a percentage."""
    percent = bool(items) and items[-1].kind == "%"
    rest = [item for item in items if item.text not in ("%", "-", "+")]
    return (rest[0] if len(rest) == 1 and rest[0].kind == "number" else None), percent


def _is_cut(sides: _Sides, ours: Fraction, theirs: Fraction) -> bool:
    """Returns whether a result is rounded to a whole number, or its decimals are cut off."""
    for side, written, exact in ((sides.right, theirs, ours), (sides.left, ours, theirs)):
        number, percent = _number(side.items)
        if number is not None and exact.denominator > 1:
            if abs(written - exact) < 2 * half_unit(number, percent):
                return True
            if percent and abs(100 * written - exact) < 2 * half_unit(number, False):
                return True
    return False


def _is_share(side: Expression, other: Expression, amount: Fraction) -> bool:
    """Returns whether a side is a share of something, and the other what it amounts to."""
    if not other.single or abs(amount) < 1:
        return False
    numbers = [item for item in side.items if item.kind == "number"]
    percents = sum(item.kind == "%" for item in side.items)
    if percents and percents == len(numbers) and set(side.signs) <= {"+", "-"}:
        return True
    if side.signs == ["/"] and len(side.items) == 3:
        return 0 < numbers[0].value < numbers[1].value
    return side.single and len(numbers) == 1 and 0 < numbers[0].value < 1


def _percent_differs(sides: _Sides) -> bool:
    """Returns whether an equation holds if some percent signs say nothing, or if 5 + 10% is."""
    if not sides.has("%"):
        return False
    for ours, theirs in ((_ONE, _ONE), (_ONE, HUNDREDTH), (HUNDREDTH, _ONE)):
        left, right = value(sides.left.items, ours), value(sides.right.items, theirs)
        if left is not None and right is not None:
            if _same(sides, left, right) or _is_cut(sides, left, right):
                return True
    for side in sides:
        percents = sum(item.kind == "%" for item in side.items)
        numbers = sum(item.kind == "number" for item in side.items)
        if 0 < percents < numbers and not {"+", "-"}.isdisjoint(side.signs):
            return True
    return False


def _respelt(sides: _Sides, ours: Fraction, theirs: Fraction) -> bool:
    """Returns whether the equation holds in a spelling that is not the usual one.

    Those are 14 / 1 / 4 and 12 / 2 * 3 without their brackets, 5-1/2 for 5 1/2, 30 - 1/3 for a
    third less than 30, 1.500 for 1,500, and 10-12 for a range.
    """
    first, *rest = sides.right.items
    if len(rest) == 2 and rest[0].text == "-" and first.end == rest[0].start:
        return True
    left, right = ([value(items) for items in _spellings(side.items)] for side in sides)
    if any(_same(sides, found, theirs) for found in left):
        return True
    if any(_same(sides, ours, found) for found in right):
        return True
    return any(
        _same(sides, value(respell(sides.left.items)), value(respell(sides.right.items)))
        for respell in (_thousands, _mixed)
    )


def _spellings(items: list[Token]) -> Iterator[list[Token]]:
    """Yields the items as other spellings have them.

    Those are 14 / (1 / 4), 12 / (2 * 3), and 30 * (1 - 1/3) for 30 - 1/3.
    """
    for at in range(1, len(items) - 3):
        sign, above, over, below = items[at : at + 4]
        if over.text == "*" and above.kind == "number" and sign.text == "/":
            yield _grouped(items, at + 1)
        part = _fraction(items, at + 1)
        if part is None:
            continue
        if sign.text == "/":
            yield [*items[:at], sign, above._replace(value=part, text="1/1"), *items[at + 4 :]]
        elif sign.text in ("-", "+") and len(items) == 5 and part < 1:
            share = 1 - part if sign.text == "-" else 1 + part
            yield [items[0], sign._replace(text="*"), above._replace(value=share, text="1/1")]


def _fraction(items: list[Token], at: int) -> Fraction | None:
    """Returns the value of the fraction of two numbers that begins at an index, if there is one."""
    if len(items) < at + 3 or items[at + 1].text != "/" or not items[at + 2].value:
        return None
    above, _, below = items[at : at + 3]
    return above.value / below.value if above.kind == "number" else None


def _mixed(items: list[Token]) -> list[Token]:
    """Returns the items with every 5-1/2 read as 5 1/2."""
    found: list[Token] = []
    at = 0
    while at < len(items):
        item, part = items[at], _fraction(items, at + 1)
        last = found[-1] if found else item
        tight = item.text == "-" and last.kind == "number" and last.end == item.start
        if tight and part is not None and part < 1:
            found[-1] = last._replace(value=last.value + part, text="1/1", end=items[at + 3].end)
            at += 4
        else:
            found.append(item)
            at += 1
    return found


def _grouped(items: list[Token], at: int) -> list[Token]:
    """Returns the items with brackets around the product that begins at an index."""
    opens, closes = Token("(", 0, 0, "("), Token(")", 0, 0, ")")
    depth, end = 0, at + 2
    while end < len(items):
        depth += (items[end].kind == "(") - (items[end].kind == ")")
        end += 1
        if not depth:
            break
    return [*items[:at], opens, *items[at:end], closes, *items[end:]]


def _thousands(items: list[Token]) -> list[Token]:
    """Returns the items with a point before three digits read as a comma."""
    return [
        item._replace(value=item.value * 1000, text="")
        if item.kind == "number" and decimals(item) == 3
        else item
        for item in items
    ]


def _is_joined(sides: _Sides, ours: Fraction, theirs: Fraction) -> bool:
    """Returns whether the equation holds with less, or more, of the text around it."""
    left, right = sides
    ends = [left.items[at:] for joint in left.joints[-_JOINTS:] for at in (joint, joint + 1)]
    lefts = {value(items) for items in ends if len(items) > 2} | {ours}
    rights = {value(items) for items in itertools.islice(_beginnings(right), _JOINTS)} | {theirs}
    if (lefts & rights) - {None}:
        return True
    previous = left.previous
    close = len(left.before) <= _LINKS and _APART.isdisjoint(left.before)
    if previous is None or not close or not previous.items:
        return False
    if previous.items[-1].kind == "%" or units.are_units(left.before):
        return True  # 20% off 50 + 10, 5 feet 6 inches + 2 inches
    if "and" in left.before and not _RESULTS.isdisjoint(previous.before):
        return True  # the product of 3 and 4 + 2
    number, signs = value(previous.items), (Token("sign", 0, 0, sign) for sign in "+-*/")
    if number is None or "and" in left.before:
        return number is not None and theirs == number + ours
    together = {value([*previous.items, sign, *left.items]) for sign in signs}
    either = {number + ours, number - ours, ours - number, number * ours}
    return theirs in together | either or bool(ours) and theirs == number / ours


def _beginnings(side: Expression) -> Iterator[list[Token]]:
    """Yields the parts of a side before each of its signs: 5, then 5 * 4, of "5 * 4 - 2"."""
    depth = 0
    for i, item in enumerate(side.items):
        depth += (item.kind == "(") - (item.kind == ")")
        if i and not depth and item.kind == "sign" and side.items[i - 1].kind != "sign":
            yield side.items[:i]
    yield side.items
