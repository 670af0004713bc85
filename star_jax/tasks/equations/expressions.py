"""Finds the sums, products and single numbers in a rationale, which are the sides of equations.

An expression is a longest stretch of numbers with signs between them. Words after a number are its
unit: "6 fixed comics + 5 comics". Two numbers with nothing but words between them belong to two
expressions, except 50% of 80 and 1/2 of the 20.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from star_jax.tasks.equations.tokens import Kind, Token

_MOST_WORDS = 6  # of a unit
_CONTEXT = 5  # words before an expression that are kept
_UNIT = 3  # words after a number that may be its unit
_ENDS_UNIT = {"per", "a", "an", "each", "every", "of", "in", "on", "for", "from", "at", "to", "and"}
_DETERMINERS = {"the", "his", "her", "their", "its", "this", "these", "those", "all", "my", "your"}
_LABELS = {
    *("step", "day", "week", "month", "year", "part", "option", "case", "number", "line", "page"),
    *("question", "problem", "chapter", "row", "level", "grade", "age", "game", "lesson"),
}


@dataclass
class Expression:
    """An expression in a text.

    Attributes:
        items: its numbers, signs, brackets and percent signs.
        start, end: span in the text.
        first: index of its first token; -1 if brackets divide it.
        last: index of the token that ends it; -1 at the end of the text.
        closed: kind of that token; "" at the end of the text.
        stop: text of that token.
        tail: number of words between its last item and that token.
        words: words of its units, in lower case.
        joints: indices of those signs that may be prose: after a unit, "of", a dash.
        before: the last words before it in its clause, in lower case.
        previous: the expression before it in its clause.
        dangling: the sign after it that joins it to something other than a number; "" without one.
        unknown: True if its value cannot be told.
        variable: True if the words after it end in a variable: "and so x".
        doubtful: True if it may be a part of something else.
        bullet: True if it begins with a sign that may mark an item of a list.
    """

    items: list[Token]
    start: int
    end: int
    first: int = -1
    last: int = -1
    closed: Kind | Literal[""] = ""
    stop: str = ""
    tail: int = 0
    words: list[str] = field(default_factory=list)
    joints: list[int] = field(default_factory=list)
    before: tuple[str, ...] = ()
    previous: "Expression | None" = None
    dangling: str = ""
    unknown: bool = False
    variable: bool = False
    doubtful: bool = False
    bullet: bool = False

    @property
    def signs(self) -> list[str]:
        """Its signs, without one that it begins with."""
        return [item.text for item in self.items[1:] if item.kind in ("sign", "frac")]

    @property
    def single(self) -> bool:
        """Whether it is one number, with or without a sign or a percent sign."""
        values = sum(item.kind == "number" or item.text[0] == "^" for item in self.items)
        return values == 1 and all(item.kind != "frac" for item in self.items)

    @property
    def expects(self) -> bool:
        """Whether a number or an opening bracket must come next."""
        last = self.items[-1] if self.items else None
        return last is None or last.kind in ("(", "frac") or _is_operator(last)


def find(tokens: Sequence[Token]) -> list[Expression]:
    """Returns the expressions of a text, in order."""
    finder = _Finder(tokens)
    for index in range(len(tokens)):
        finder.read(index)
    finder.close()
    return finder.found


class _Finder:
    """Reads tokens one by one and cuts expressions out of them."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self.tokens = tokens
        self.found: list[Expression] = []
        self.run: Expression | None = None  # the expression that is being read
        self.depth = 0  # brackets that are open in it
        self.gap = 0  # words since its last item
        self.rate = False  # whether those words go on after its unit
        self.swallow = False  # whether it is unknown up to the end of the clause
        self.context: list[str] = []  # words since the last item, or since the clause began
        self.previous: Expression | None = None

    def read(self, index: int) -> None:
        token, run = self.tokens[index], self.run
        if token.kind in ("=", "break"):
            self.close(index)
            self.previous = None
            self.context.clear()
        elif token.kind == "bad" or self.swallow:
            run = run or self.begin(index)
            run.unknown = self.swallow = True
            run.end = token.end
        elif token.kind in ("number", "(", "frac"):
            self.operand(index)
        elif token.kind == "sign":
            self.sign(index)
        elif token.kind == "word":
            self.word(index)
        elif run is None or run.expects or token.kind == ")" and not self.depth:
            self.close(index)
        elif token.kind == ")":
            self.depth -= 1
            self.append(run, token)
        elif not self.gap and run.items[-1].kind in ("number", ")"):
            self.append(run, token)  # a percent sign
        else:
            self.close(index)

    def operand(self, index: int) -> None:
        """Reads a number or an opening bracket."""
        token, run = self.tokens[index], self.run
        if run is not None and not run.expects:
            last = run.items[-1]
            if token.kind != "number" and last.end == token.start and last.kind in ("number", ")"):
                if token.kind == "frac":  # 2\frac{1}{2}
                    run.unknown = True
                if not (last.text == "}" and token.text == "{"):  # 5(3), but not \frac{5}{3}
                    run.joints.append(len(run.items))
                    self.append(run, Token("sign", token.start, token.start, "*"))
            else:
                self.close(index)
        run = self.run or self.begin(index)
        self.depth += token.kind == "("
        self.append(run, token)

    def sign(self, index: int) -> None:
        token, run = self.tokens[index], self.run
        after = self.tokens[index + 1] if index + 1 < len(self.tokens) else None
        if run is not None and run.expects:
            spaced = run.items and run.items[-1].end < token.start  # 5 - -3
            if token.text == "-" and run.items and (spaced or run.items[-1].text != "-"):
                self.append(run, token)
            else:
                run.unknown = True
        elif run is not None and token.text == "/" and after is not None and after.kind == "word":
            self.gap, self.rate = self.gap + 1, True  # $5/hour
        elif run is not None and self.gap <= _MOST_WORDS:
            if self.gap and token.text == "/" and after is not None:  # degrees/5%
                around = self.tokens[index - 1].end, after.start
                run.unknown |= around == (token.start, token.end)
            if self.gap or token.loose or self._is_range(index):
                run.joints.append(len(run.items))
            self.append(run, token)
        elif self.context or index and self.tokens[index - 1].kind == ")":  # "total - 5"
            self.close(index)
            run = self.begin(index)
            run.unknown = not self._is_unary(index)
            if not run.unknown:
                run.doubtful = True
                self.append(run, token)
        elif token.text in ("-", "+"):
            run = self.begin(index)
            run.bullet = after is not None and after.start > token.end
            run.doubtful |= self._goes_on(index) or token.text == "+"
            self.append(run, token)
        elif token.text != "*":
            self.begin(index).unknown = True

    def _is_range(self, index: int) -> bool:
        """Returns whether a minus sign may be none, as in 5-6 * 2 and, on a line, "1 - 5 * 2"."""
        run, (before, token) = self.run, self.tokens[index - 1 : index + 1]
        if run is None or len(run.items) != 1 or token.text != "-":
            return False
        begins = not run.first or self.tokens[run.first - 1].text == "\n"
        return begins or before.end == token.start

    def _is_unary(self, index: int) -> bool:
        """Returns whether a minus sign after a word belongs to the number: "that is -5 + 3"."""
        before, token, *after = self.tokens[max(index - 1, 0) : index + 2]
        touches = bool(after) and after[0].start == token.end and after[0].kind == "number"
        return touches and token.text == "-" and before.kind == "word" and before.end < token.start

    def _goes_on(self, index: int) -> bool:
        """Returns whether the sign that begins a line goes on with the sum of the line before."""
        if not index:
            return False
        last = self.found[-1] if self.found else None
        if self.tokens[index - 1].text != "\n":
            return self.tokens[index - 1].kind == "break"
        ended = last is not None and last.last == index - 1
        return last is not None and ended and self.tokens[last.first - 1].kind != "="

    def word(self, index: int) -> None:
        token, run = self.tokens[index], self.run
        text = token.text.lower()
        if run is not None and run.expects:
            if text in _DETERMINERS and run.items and run.items[-1].text == "of":
                return  # of the
            run.unknown |= len(text) == 1 and text not in ("a", "i")
            self.close(index)
        elif run is not None:
            if text == "of" and not self.gap and self._is_share(run) and self._counts(index + 1):
                run.joints.append(len(run.items))
                self.append(run, token._replace(kind="sign"))
                return
            self.gap += 1
            self.rate = self.rate or text in _ENDS_UNIT and not self._is_in_unit(run, index)
            if self.gap <= _UNIT and not self.rate:
                run.words.extend(re.split("[ -]", text.strip("-")))
            if _is_variable(token, run.end):
                after = self.tokens[index + 1].kind if index + 1 < len(self.tokens) else "break"
                times = self.tokens[index - 1].text in ("of", "times", "/")
                run.unknown |= self.gap == 1 or times or after == "sign"
                run.variable |= after == "="
            if re.search("[0-9]", text):
                run.unknown = self.swallow = True
        self.context.append(text)

    def _is_share(self, run: Expression) -> bool:
        """Returns whether the run ends in a number that may be a share: 50%, 1/2, 0.5."""
        last = run.items[-1]
        fraction = len(run.items) > 2 and run.items[-2].text == "/"
        return last.kind in ("%", ")") or fraction or last.value.denominator > 1

    def _is_in_unit(self, run: Expression, index: int) -> bool:
        """Returns whether a word that ends other units belongs to one: 18 in, 1/2 of an hour."""
        token = self.tokens[index]
        if token.text.lower() in ("of", "a", "an"):
            return self.gap <= 2 and self._is_share(run)
        after = self.tokens[index + 1].kind if index + 1 < len(self.tokens) else "break"
        return self.gap == 1 and token.text == "in" and after in ("sign", "=", "break", ")")

    def _counts(self, index: int) -> bool:
        """Returns whether a number comes next, perhaps with a determiner before it."""
        after = list(self.tokens[index : index + 2])
        if after and after[0].text in _DETERMINERS:
            after.pop(0)
        return bool(after) and after[0].kind in ("number", "(")

    def begin(self, index: int) -> Expression:
        token, before = self.tokens[index], tuple(self.context[-_CONTEXT:])
        run = Expression([], token.start, token.end, index, before=before, previous=self.previous)
        cut = [token.kind for token in self.tokens[max(index - 2, 0) : index]]
        label = bool(before) and before[-1].removesuffix("s") in _LABELS
        run.doubtful = label or cut == ["sign", "break"]  # 8 + . 4 + 2
        if index:
            last = self.tokens[index - 1]
            run.doubtful |= last.kind == ")" and last.end == token.start  # (x + 2)5
            run.doubtful |= last.kind == "break" and last.loose  # 14, 400 / 80
        if token.kind == "(" and before and len(before[-1]) == 1 and before[-1] not in "ai":
            run.unknown = True  # x (5 + 3)
        self.depth, self.gap, self.rate, self.run = 0, 0, False, run
        return run

    def append(self, run: Expression, token: Token) -> None:
        run.items.append(token)
        run.end = token.end
        self.gap, self.rate = 0, False
        self.context.clear()

    def close(self, index: int = -1) -> None:
        """Ends the expression at a token; brackets that are still open divide it."""
        run, self.run, self.swallow = self.run, None, False
        if run is None:
            return
        run.tail = self.gap
        if index >= 0:
            run.doubtful |= self.tokens[index].kind == "break" and self.tokens[index].loose
            run.last, run.closed, run.stop = index, self.tokens[index].kind, self.tokens[index].text
        if not run.unknown:
            while run.items and run.expects:
                run.dangling = run.items.pop().text
                run.end = run.items[-1].end if run.items else run.end
            if not run.items:
                return
        parts = _divided(run) if self.depth else [run]
        self.found += parts
        self.previous = parts[-1] if parts else None


def _is_operator(item: Token) -> bool:
    return item.kind == "sign" and item.text[0] != "^"


def _is_variable(word: Token, end: int) -> bool:
    """Returns whether a word after a number that ends at `end` is a variable: 2x, 3A, 3 b."""
    touches = word.start == end
    return len(word.text.strip("-")) == 1 and (touches or word.text not in ("a", "A", "I"))


def _divided(run: Expression) -> list[Expression]:
    """Returns the parts before the first and after the last bracket that is not closed."""
    opened: list[int] = []
    for i, item in enumerate(run.items):
        if item.kind == "(":
            opened.append(i)
        elif item.kind == ")" and opened:
            opened.pop()
    if not opened:
        return [run]
    parts, head, tail = [], run.items[: opened[0]], run.items[opened[-1] + 1 :]
    while head and (_is_operator(head[-1]) or head[-1].kind == "frac"):
        head.pop()
    if head:
        joints = [i for i in run.joints if i < len(head)]
        part = replace(run, items=head, end=head[-1].end, last=-1, closed="(", dangling="(")
        parts.append(replace(part, joints=joints))
    if tail:
        joints = [i - len(run.items) + len(tail) for i in run.joints]
        inside = opened[-1] > 0 and _is_operator(run.items[opened[-1] - 1])
        rest = replace(run, items=tail, start=tail[0].start, first=-1, doubtful=inside)
        parts.append(replace(rest, joints=[i for i in joints if i >= 0]))
    return parts
