"""Finds the equations in a rationale, and checks those that are plain arithmetic."""

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from star_jax.tasks import equation_tokens, expression_values, expressions, number_text
from star_jax.tasks.equation_tokens import ANNOTATION, Token
from star_jax.tasks.expression_values import HUNDREDTH, decimals, exact
from star_jax.tasks.expressions import Expression

_MOST = 1000  # equations of a text; further ones are not checked


@dataclass(frozen=True)
class Equation:
    start: int
    end: int
    text: str
    holds: bool | None
    canonical: str = ""


def find(text: str) -> list[Equation]:
    found = [*_plain(text), *_annotated(text)]
    return sorted(found, key=lambda equation: equation.start)


def wrong(text: str) -> bool | None:
    known = [equation.holds for equation in find(text) if equation.holds is not None]
    return not all(known) if known else None


def _annotated(text: str) -> Iterator[Equation]:
    for match in ANNOTATION.finditer(text):
        wrong_ = _annotation(match[1])
        yield Equation(*match.span(), match[0], None if wrong_ is None else not wrong_)

def _annotation(annotation):
    sides = annotation.split("=")
    try:
        values = [number_text.value(side) for side in sides]
    except ZeroDivisionError:
        return True
    exact_ = [value for value in values if value is not None]
    if len(sides) < 2 or len(exact_) < len(sides):
        return None
    return any(
        abs(exact_[i] - exact_[i + 1]) > max(_rounding(sides[i]), _rounding(sides[i + 1]))
        for i in range(len(sides) - 1)
    )

_DECIMAL = re.compile(r"[$\s]*-?[0-9,]*\.([0-9]+)\s*")
def _rounding(side: str) -> Fraction:
    """Returns half a unit in the last decimal of a number; 0 for whole numbers and sums."""
    match = _DECIMAL.fullmatch(side)
    return Fraction(1, 2 * 10 ** len(match[1])) if match else Fraction(0)


def _plain(text: str) -> Iterator[Equation]:
    tokens = equation_tokens.tokens(text)
    runs = expressions.find(tokens)
    starts = {run.first: run for run in runs if run.first >= 0}
    ends = {}
    equals = [i for i, token in enumerate(tokens) if token.kind == "="]
    by_end = sorted((i for i in equals))
    # a run that "=" closes
    position = 0
    for run in runs:
        if run.closed == "=":
            while position < len(equals) and tokens[equals[position]].start < run.end:
                position += 1
            if position < len(equals):
                ends[equals[position]] = run
    checked = 0
    ok = set()
    for i in equals:
        left, right = ends.get(i), starts.get(i + 1)
        if left is None and right is None:
            continue
        start = left.start if left else tokens[i].start
        end = right.end if right else tokens[i].end
        holds = None
        if left and right and checked < _MOST:
            checked += 1
            holds = _Judge(left, right, chained=right.closed == "=", again=id(left) in ok).verdict()
        if right:
            ok.add(id(right))
        canonical = ""
        if left and right:
            canonical = f"{_canonical(left)}={_canonical(right)}"
        yield Equation(start, end, text[start:end], holds, canonical)


def _canonical(run: Expression) -> str:
    return "".join(_spelt(item) for item in run.items)


def _spelt(item: Token) -> str:
    if item.kind != "number":
        return {"{": "(", "}": ")", "\\frac": "frac"}.get(item.text, item.text)
    return item.text.lstrip("$")

_CAUTION = {w for w in """
half third quarter fourth fifth sixth seventh eighth ninth tenth halves thirds quarters fourths fifths sixths tenths
twice double doubled triple tripled thrice times multiplied divided plus minus less
one-half one-third one-fourth two-thirds three-fourths three-quarters
squared cubed square cube root remainder remaining mod modulo
am pm o'clock a.m p.m
about approximately approx around roughly nearly almost estimated estimate rounded rounding rounds round
not isn't instead wrong incorrect incorrectly mistake mistakenly
per by than into
""".split()}
_SCALE = set("hundred hundreds thousand thousands million millions billion billions trillion dozen dozens score scores pair pairs tens k m".split())
_DIMENSIONS = [
    (set("second seconds sec secs minute minutes min mins hour hours hr hrs day days week weeks month months year years decade decades century centuries fortnight daily".split()), "time"),
    (set("inch inches in foot feet ft yard yards yd mile miles meter meters metre metres centimeter centimeters cm mm km kilometer kilometers millimeter millimeters".split()), "length"),
    (set("ounce ounces oz pound pounds lb lbs ton tons gram grams kg kilogram kilograms kilos milligrams mg".split()), "weight"),
    (set("cup cups pint pints quart quarts gallon gallons ounce ounces oz ml liter liters litre litres milliliters milliliter tablespoon tablespoons teaspoon teaspoons".split()), "volume"),
    (set("$ dollar dollars cent cents penny pennies nickel nickels dime dimes quarter quarters bill bills euro euros pence".split()), "money"),
]
_FACTORS = {
    "time": {60, 3600, 24, 7, 12, 30, 31, 365, 52, 4, 168, 1440, 10, 100, 28, 86400},
    "length": {12, 3, 36, 5280, 1760, 100, 1000, 10, 144, 9},
    "weight": {16, 2000, 1000, 10},
    "volume": {2, 3, 4, 8, 16, 32, 128, 1000, 100, 48},
    "money": {100, 1000, 10**6, 4, 10, 20, 5, 25},
}


class _Judge:
    """Compares the two sides of one equation."""

    def __init__(self, left: Expression, right: Expression, chained: bool, again: bool):
        self.left, self.right, self.chained, self.again = left, right, chained, again

    def verdict(self) -> bool | None:
        left, right = self.left, self.right
        if left.unknown or right.unknown:
            return None
        if right.dangling not in ("", "-", "*", "(") or left.dangling:
            return None
        if left.previous and left.previous.dangling:
            dubious = True
        else:
            dubious = False
        l, r = exact(left.items), exact(right.items)
        if l is None or r is None:
            return None
        if left.single and right.single:
            bare = self.again and not (left.words or right.words or self._has("%", "/"))
            money = any("$" in item.text for item in [*left.items, *right.items])
            if l == r:
                return True if self.again else None
            if not bare or money:
                return None
        if self._means(l, r):
            return True
        if left.doubtful or right.doubtful or left.single and left.words:
            return None
        if any(item.kind == "number" and item.loose for item in [*left.items, *right.items]):
            return None
        if right.dangling or dubious or right.stop == "?":
            return None
        return None if self._maybe(l, r) else False

    def _means(self, l: Fraction, r: Fraction) -> bool:
        left, right = self.left, self.right
        if self._same(l, r):
            return True
        for items, tight in itertools.product((left.items[left.bullet :], left.items), (True, False)):
            value = exact(items, tight=tight)
            if value is not None and self._same(value, r):
                return True
        value = exact(right.items, tight=True)
        if value is not None and self._same(l, value):
            return True
        if self.chained and len(right.items) > 1:
            value = exact(self._first(right))
            if value is not None and value == l:
                return True
            if value is not None and self._near(l, self._first(right)[-1], value):
                return True
        if not self._has("%", side=left) and self._has("%", side=right) and right.single:
            return self._same(l, exact(right.items, percent=Fraction(1)))
        return False

    def _first(self, run: Expression) -> list[Token]:
        """The first operand."""
        depth = 0
        for i, item in enumerate(run.items):
            depth += (item.kind == "(") - (item.kind == ")")
            if i and not depth and item.kind == "sign" and run.items[i - 1].kind != "sign":
                return run.items[:i]
        return run.items

    def _prefixes(self, run: Expression) -> Iterator[list[Token]]:
        depth = 0
        for i, item in enumerate(run.items):
            depth += (item.kind == "(") - (item.kind == ")")
            if i and not depth and item.kind == "sign" and run.items[i - 1].kind != "sign":
                yield run.items[:i]

    def _same(self, l: Fraction, r: Fraction) -> bool:
        """Equal, or equal when rounded as written."""
        if l == r:
            return True
        for run, here, there in ((self.right, r, l), (self.left, l, r)):
            if run.single and self._near(there, run.items[-1 if run.items[-1].kind != "%" else -2], here, self._has("%", side=run)):
                return True
        return False

    def _near(self, true: Fraction, number: Token, value: Fraction, percent=False) -> bool:
        places = decimals(number)
        if not places or number.kind != "number":
            return False
        unit = Fraction(1, 10 ** (places + 2 * percent))
        return abs(true - value) <= unit / 2

    def _has(self, *texts: str, side: Expression | None = None) -> bool:
        sides = (side,) if side else (self.left, self.right)
        return any(item.text in texts or item.kind == "frac" and "/" in texts or item.kind=="number" and "/" in texts and "/" in item.text for run in sides for item in run.items)

    def _maybe(self, l: Fraction, r: Fraction) -> str:
        left, right = self.left, self.right
        words = {*left.words, *right.words}
        # whole results
        for run, here, there in ((right, r, l), (left, l, r)):
            if run.single:
                number = run.items[-1] if run.items[-1].kind != "%" else run.items[-2]
                unit = Fraction(1, 10 ** (decimals(number) + 2 * self._has("%", side=run)))
                if there.denominator > 1 and abs(here - there) < unit:
                    return "rounded"
                if self._has("%", side=run) and there.denominator > 1 and abs(here * 100 - there) < 1:
                    return "rounded"
        # shares
        for run, other in ((left, right), (right, left)):
            if self._share(run) and other.single and abs(exact(other.items)) >= 1:
                return "share"
        if self._has("%"):
            for a, b in ((1, 1), (1, 100), (100, 1)):
                x, y = exact(left.items, percent=Fraction(1, a)), exact(right.items, percent=Fraction(1, b))
                if x is not None and y is not None and self._same(x, y):
                    return "percent"
            for run in (left, right):
                additive = any(item.text in "+-" for item in run.items[1:])
                percents = sum(item.text == "%" for item in run.items)
                if additive and 0 < percents < sum(item.kind == "number" for item in run.items):
                    return "percent sum"
        # 14 / 1 / 4
        for run, there in ((left, r), (right, l)):
            texts = [item.text for item in run.items]
            for i in range(1, len(texts) - 3):
                if texts[i] == texts[i + 2] == "/" and run.items[i + 3].kind == "number":
                    inner = run.items[i + 1].value / (run.items[i + 3].value or 1)
                    one = Token("number", 0, 0, "1", inner)
                    if exact([*run.items[: i + 1], one, *run.items[i + 4 :]]) == there:
                        return "fraction"
        # roundings of inputs
        x, y = (expression_values.value(run.items, rounded=True) for run in (left, right))
        if x and y and x.low <= y.high and y.low <= x.high:
            return "inputs"
        if words & _SCALE:
            return "scale"
        context = {*left.words, *right.words, *left.before}
        if context & _CAUTION:
            return "caution"
        alternatives = list(self._other_left()) 
        rights = [right.items, *self._prefixes(right)]
        for a in [left.items, *alternatives]:
            for b in rights:
                x, y = exact(a), exact(b)
                if x is not None and x == y and (a is not left.items or b is not right.items):
                    return "joint"
        # previous number
        if left.previous is not None and left.previous.items:
            p = exact(left.previous.items)
            if p is not None:
                for sign in "+-*/":
                    joined = [*left.previous.items, Token("sign", 0, 0, sign), *left.items]
                    if exact(joined) == r:
                        return "previous"
                for v in (p + l, p - l, p * l, p / l if l else None, l - p):
                    if v is not None and v == r:
                        return "previous"
        return self._units(l, r, words)

    def _other_left(self) -> Iterator[list[Token]]:
        for i in self.left.joints[-6:]:
            items = self.left.items[i + 1 :]
            if any(item.kind == "sign" for item in items):
                yield items
                yield self.left.items[i:]

    def _share(self, run: Expression) -> bool:
        if run.single:
            return self._has("%", side=run) or run.items[-1].kind == "number" and 0 < run.items[-1].value < 1
        if all(item.kind in ("number", "%") or item.text in "+-" for item in run.items):
            counts = [sum(item.kind == kind for item in run.items) for kind in ("number", "%")]
            if counts[0] == counts[1]:
                return True
        kinds = [item.kind for item in run.items]
        if kinds == ["number", "sign", "number"] and run.items[1].text == "/":
            return run.items[0].value <= run.items[2].value
        return False

    def _units(self, l, r, words) -> str:
        units = {word for word in words}
        units |= {part for word in words for part in re.split(r"[ -]", word)}
        additive = any(sign in "+-" for sign in [*self.left.signs, *self.right.signs])
        money = any("$" in item.text for run in (self.left, self.right) for item in run.items)
        if money:
            units.add("$")
        for names, dimension in _DIMENSIONS:
            present = units & names
            if not present:
                continue
            singular = {name.rstrip("s") for name in present} - ({"$"} if "dollars" in present or "dollar" in present else set())
            if additive and len(singular) > 1:
                return "mixed units"
            if r and l and (l / r if abs(l) > abs(r) else r / l) in _FACTORS[dimension]:
                return "conversion"
        return ""
