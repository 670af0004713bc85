r"""Finds the equations in a rationale, and checks those that are plain arithmetic.

    She had 5 boxes * 6 = 30 cookies, ate 1/2 of 4 = 2 and sold 30 - 2 = 27.    true, true, false
    x + 3 = 5, 10:30 + 2 = 12:30, 2 hours = 120 minutes                         cannot tell

Each "=" is one equation between what is before and after it. In a chain, an "=" may also go on from
the last result: 2 + 3 = 5 * 4 = 20. A result with decimals may be rounded to them. An equation is
false only if no reading of it holds (`verdict`), so an honest one is never told to be false.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from star_jax.tasks import number_text
from star_jax.tasks.equations import expressions, values, verdict
from star_jax.tasks.equations.expressions import Expression
from star_jax.tasks.equations.tokens import ANNOTATION, Token, tokens

_MOST = 1000  # equations of a text that are checked
_DECIMAL = re.compile(r"[$\s]*-?[0-9,]*\.([0-9]+)\s*")


@dataclass(frozen=True)
class Equation:
    """An equation in a text.

    Attributes:
        start, end: span in the text.
        text: text of the span.
        holds: whether it is true; None if that cannot be told.
        canonical: the equation without words, units, commas and spaces.
    """

    start: int
    end: int
    text: str
    holds: bool | None
    canonical: str


def find(text: str) -> list[Equation]:
    """Returns the equations of a text in order, including those in calculator annotations."""
    found = [*_plain(text), *_annotated(text)]
    return sorted(found, key=lambda equation: equation.start)


def wrong(text: str) -> bool | None:
    """Returns whether an equation of a text is false; None if none of them can be checked."""
    known = [equation.holds for equation in find(text) if equation.holds is not None]
    return not all(known) if known else None


def annotations(text: str) -> tuple[str, ...]:
    """Returns the calculator annotations of a text, such as <<6*2=12>>, without spaces."""
    return tuple("".join(inner.split()) for inner in ANNOTATION.findall(text))


def steps(text: str) -> tuple[str, ...]:
    """Returns the annotations of a text or, if there are none, its equations in canonical form."""
    return annotations(text) or tuple(equation.canonical for equation in _plain(text))


def _plain(text: str) -> Iterator[Equation]:
    """Yields the equations outside of annotations."""
    parts = tokens(text)
    found = expressions.find(parts)
    rights = {side.first: side for side in found}
    lefts = {side.last: side for side in found if side.closed == "="}
    checked = 0
    for i, token in enumerate(parts):
        left, right = lefts.get(i), rights.get(i + 1)
        if token.kind != "=" or left is None and right is None:
            continue
        holds = None
        if left is not None and right is not None and checked < _MOST:
            holds = verdict.holds(
                left, right, again=left.first > 0 and parts[left.first - 1].kind == "="
            )
            checked += 1
        start = token.start if left is None else left.start
        end = token.end if right is None else right.end
        canonical = f"{_canonical(left, text)}={_canonical(right, text)}"
        yield Equation(start, end, text[start:end], holds, canonical)


def _canonical(side: Expression | None, text: str) -> str:
    if side is None:
        return ""
    if side.unknown:
        return "".join(text[side.start : side.end].split())
    return "".join(map(_spelling, side.items))


def _spelling(item: Token) -> str:
    if item.kind == "number":
        digits = item.text.removeprefix("$")
        return number_text.canonical(digits) or digits
    return {"(": "(", ")": ")", "frac": "frac"}.get(item.kind) or item.text.replace("of", "*")


def _annotated(text: str) -> Iterator[Equation]:
    """Yields the annotations that are equations or look like one."""
    for match in ANNOTATION.finditer(text):
        canonical = "".join(match[1].split())
        yield Equation(*match.span(), match[0], _annotation_holds(match[1]), canonical)


def _annotation_holds(annotation: str) -> bool | None:
    """Returns whether an equation in "a=b" or "a=b=c" holds; None without an equation.

    A result with decimals may be rounded to them, as in 2/3=0.67; a whole one must be exact. All
    gold solutions of GSM8K follow this.
    """
    sides = annotation.split("=")
    try:
        found = [number_text.value(side) for side in sides]
    except ZeroDivisionError:
        return False
    exact = [value for value in found if value is not None]
    if len(sides) < 2 or len(exact) < len(sides):
        return None
    return all(
        abs(exact[i] - exact[i + 1])
        <= max(_rounding(sides[i], exact[i + 1]), _rounding(sides[i + 1], exact[i]))
        for i in range(len(sides) - 1)
    )


def _rounding(side: str, exact: Fraction) -> Fraction:
    """Returns how far a number with decimals may be from `exact`; 0 for whole numbers and sums."""
    match = _DECIMAL.fullmatch(side)
    if not match:
        return Fraction(0)
    places = len(match[1])
    return max(Fraction(1, 2 * 10**places), values.float_error(exact, places))
