"""Finds the sums, products and single numbers that stand in a rationale, and evaluates them.

An expression is a longest stretch of numbers with signs between them. Words after a number are its
unit: "6 fixed comics + 5 comics". Two numbers with nothing but words between them belong to two
expressions.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from star_jax.tasks.equation_tokens import Token

_MOST_WORDS = 6  # of a unit
_CONTEXT = 5  # words before an expression that are looked at
_DETERMINERS = {"the", "his", "her", "their", "its", "this", "these", "those", "all", "my", "your"}
_LABELS = {"step", "day", "week", "month", "year", "part", "option", "case", "number", "line"}


@dataclass
class Expression:
    """An expression in a text.

    Attributes:
        items: its numbers, signs and brackets; a number's percent sign is an item.
        start, end: span in the text.
        first: index of its first token.
        words: the words of its units, in lower case.
        joints: indices of the items that may be prose and not signs: one after a unit, "of".
        unknown: True if its value cannot be told.
        doubtful: True if it may be a part of something else, so that it is never told to be false.
        dangling: the sign after it that joins it to something other than a number; "" without one.
        bullet: True if it begins with a sign that may mark an item of a list.
        before: the last words before it in its clause, in lower case.
        previous: the expression before it in its clause, if only words are between them.
        closed: the token that ends it: "=", "break", "(", ")" or "" for a number or the text's end.
        stop: text of that token.
    """

    items: list[Token]
    start: int
    end: int
    first: int
    words: list[str] = field(default_factory=list)
    joints: list[int] = field(default_factory=list)
    unknown: bool = False
    dangling: str = ""
    doubtful: bool = False
    bullet: bool = False
    before: tuple[str, ...] = ()
    previous: "Expression | None" = None
    closed: str = ""
    stop: str = ""

    @property
    def signs(self) -> list[str]:
        """Its signs, without the one that it may begin with."""
        return [item.text for item in self.items[1:] if item.kind in ("sign", "frac")]

    @property
    def single(self) -> bool:
        """Whether it is one number, with or without a sign of its own."""
        return sum(item.kind in ("number", "frac") for item in self.items) == 1


class _Finder:
    """Reads tokens one by one and cuts expressions out of them."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self.tokens = tokens
        self.found: list[Expression] = []
        self.run: Expression | None = None
        self.depth = 0
        self.gap = 0  # words since the run's last item
        self.swallow = False  # all is unknown up to the end of the clause
        self.context: list[str] = []
        self.previous: Expression | None = None

    @property
    def expects(self) -> bool:
        """Whether the run's next item must be a number or a bracket that opens."""
        if self.run is None or not self.run.items:
            return self.run is not None and not self.swallow
        last = self.run.items[-1]
        return last.kind in ("(", "frac") or last.kind == "sign" and last.text[0] != "^"

    def read(self, index: int) -> None:
        token = self.tokens[index]
        if token.kind in ("=", "break"):
            self.close(token.kind, token.text)
            self.previous, self.swallow = None, False
            self.context.clear()
        elif token.kind == "bad":
            self.begin(index) if self.run is None else None
            self.run.unknown = self.swallow = True
            self.run.end = token.end
        elif self.swallow:
            self.run.end = token.end
        elif token.kind in ("number", "(", "frac"):
            self.operand(index)
        elif token.kind == "sign":
            self.sign(index)
        elif token.kind == "word":
            self.word(index)
        elif self.run is not None and not self.expects and not self.gap:
            if token.kind == "%" and self.run.items[-1].kind in ("number", ")"):
                self.append(token)
            elif token.kind == ")" and self.depth:
                self.depth -= 1
                self.append(token)
            else:
                self.close(token.kind)
        elif token.kind == ")" and self.run is not None and not self.expects and self.depth:
            self.depth -= 1
            self.append(token)
        else:
            self.close(token.kind)

    def operand(self, index: int) -> None:
        token, run = self.tokens[index], self.run
        if run is not None and not self.expects:
            last = run.items[-1]
            times = token.kind == "(" and last.end == token.start and last.kind in ("number", ")")
            if times or token.kind == "frac" and last.end == token.start:  # 5(3)
                run.joints.append(len(run.items))
                self.append(Token("sign", token.start, token.start, "*"))
            elif run.items[-1].text == "}" and token.text == "{" and self._is_fraction():
                pass  # the second argument of \frac
            else:
                self.close("(" if token.kind == "(" else "")
        if self.run is None:
            self.begin(index)
        if token.kind == "(":
            self.depth += 1
        self.append(token)

    def _is_fraction(self) -> bool:
        """Returns whether the group that ends here is the first argument of a fraction."""
        depth = 0
        items = self.run.items if self.run else []
        for i in range(len(items) - 1, 0, -1):
            depth += (items[i].kind == ")") - (items[i].kind == "(")
            if depth == 0:
                return items[i - 1].kind == "frac"
        return False

    def sign(self, index: int) -> None:
        token, run = self.tokens[index], self.run
        following = self.tokens[index + 1] if index + 1 < len(self.tokens) else None
        if run is not None and not self.expects:
            if token.text == "/" and following is not None and following.kind == "word":
                self.gap += 1  # a unit: $5/hour
                return
            if self.gap > _MOST_WORDS:
                self.close("word")
                self.begin(index, unknown=True)
                return
            unit = self.gap and run.words and token.text == "/" and following is not None
            if unit and self.tokens[index - 1].end == token.start and token.end == following.start:
                run.unknown = True  # degrees/5%
            if self.gap or token.loose:
                run.joints.append(len(run.items))
            self.append(token)
        elif run is not None:
            if token.text == "-" and run.items and run.items[-1].text != "-":
                self.append(token)
            else:
                run.unknown = True
        elif self.context or self._closed_before(index):  # "total - 5", "(x + 2) * 5"
            self.begin(index, unknown=True)
        elif token.text in ("-", "+"):
            self.begin(index)
            self.append(token)
            self.run.bullet = following is not None and following.start > token.end
        elif token.text != "*":
            self.begin(index, unknown=True)

    def _closed_before(self, index: int) -> bool:
        return index > 0 and self.tokens[index - 1].kind == ")"

    def word(self, index: int) -> None:
        token, run = self.tokens[index], self.run
        text = token.text.lower()
        if run is not None and self.expects:
            if text in _DETERMINERS and run.items and run.items[-1].end - run.items[-1].start == 2:
                return  # of the
            sign = run.items.pop() if run.items else None
            dangling = sign.text if sign is not None and sign.kind == "sign" else ""
            if sign is not None and sign.kind == "(":
                self.depth -= 1
                if run.items and run.items[-1].kind == "sign":
                    dangling = run.items.pop().text
            run.dangling = dangling
            self.close("word")
            self.context.append(text)
        elif run is not None:
            if text == "of" and not self.gap and self._is_share() and self._counts(index + 1):
                run.joints.append(len(run.items))
                self.append(Token("sign", token.start, token.end, "*"))
                return
            self.gap += 1
            if self.gap <= 4:
                run.words.append(text.strip("-"))
            if self._is_variable(token) and (self.gap <= 2 or self._precedes_sign(index)):
                run.unknown = True
            if re.search("[0-9]", text):
                run.unknown = self.swallow = True
            self.context.append(text)
        elif not (text in _DETERMINERS and self.context == ["of"]):
            self.context.append(text)

    def _is_variable(self, word: Token) -> bool:
        """Returns whether a word is a variable, as in 2x, 3A and 3 * b."""
        touches = self.run.end == word.start
        return len(word.text.strip("-")) == 1 and (touches or word.text not in ("a", "A", "I"))

    def _precedes_sign(self, index: int) -> bool:
        return index + 1 < len(self.tokens) and self.tokens[index + 1].kind == "sign"

    def _is_share(self) -> bool:
        """Returns whether the run ends in a number that may be a share: 50%, 1/2, 0.5."""
        items = self.run.items
        if items[-1].kind in ("%", ")"):
            return True
        fraction = len(items) > 2 and items[-2].text == "/"
        return items[-1].kind == "number" and (fraction or items[-1].value.denominator > 1)

    def _counts(self, index: int) -> bool:
        """Returns whether a number comes next, perhaps with a determiner before it."""
        following = self.tokens[index : index + 2]
        if following and following[0].kind == "word" and following[0].text in _DETERMINERS:
            following = following[1:]
        return bool(following) and following[0].kind in ("number", "(")

    def begin(self, index: int, unknown: bool = False) -> None:
        token = self.tokens[index]
        before = tuple(self.context[-_CONTEXT:])
        self.run = Expression([], token.start, token.end, index, unknown=unknown, before=before)
        self.run.previous = self.previous
        label = bool(before) and before[-1].removesuffix("s") in _LABELS
        self.run.doubtful = label or self._cut_before(index)
        self.depth = self.gap = 0

    def _cut_before(self, index: int) -> bool:
        """Returns whether a sign is before it that its expression was cut off at: 8 + . 4 + 2."""
        before = self.tokens[max(index - 2, 0) : index]
        return len(before) == 2 and before[0].kind == "sign" and before[1].kind == "break"

    def append(self, token: Token) -> None:
        self.run.items.append(token)
        self.run.end = token.end
        self.gap = 0
        self.context.clear()

    def close(self, closed: str, stop: str = "") -> None:
        """Ends the run; brackets that are still open divide it."""
        run, self.run, self.swallow = self.run, None, False
        if run is None:
            return
        run.closed, run.stop = closed, stop
        while run.items and not run.unknown and run.items[-1].kind in ("sign", "(", "frac"):
            if run.items[-1].text[:1] == "^":
                break
            run.dangling = run.items.pop().text
        if not run.items and not run.unknown:
            return
        if self.depth:
            run = self._divide(run)
        if run is not None:
            self.found.append(run)
            self.previous = run

    def _divide(self, run: Expression) -> Expression | None:
        """Adds the part before the first open bracket, and returns the part after the last."""
        opened: list[int] = []
        for i, item in enumerate(run.items):
            if item.kind == "(":
                opened.append(i)
            elif item.kind == ")" and opened:
                opened.pop()
        if not opened:
            return run
        head = run.items[: opened[0]]
        while head and head[-1].kind == "sign" and head[-1].text[0] != "^":
            head.pop()
        if head:
            first = Expression(head, run.start, head[-1].end, run.first, run.words, [], run.unknown)
            first.dangling, first.closed, first.before = "(", "(", run.before
            self.found.append(first)
        tail, cut = run.items[opened[-1] + 1 :], opened[-1] + 1
        if not tail:
            return None
        joints = [i - cut for i in run.joints if i >= cut]
        joined = opened[-1] > 0 and run.items[opened[-1] - 1].kind == "sign"
        rest = Expression(tail, tail[0].start, run.end, -1, run.words, joints, run.unknown)
        rest.doubtful = joined or run.doubtful
        rest.closed, rest.stop, rest.dangling = run.closed, run.stop, run.dangling
        return rest


def find(tokens: Sequence[Token]) -> list[Expression]:
    """Returns the expressions of a text, in order."""
    finder = _Finder(tokens)
    for index in range(len(tokens)):
        finder.read(index)
    finder.close("")
    return finder.found
