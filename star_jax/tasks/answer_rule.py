"""Where a completion ends and how an answer is found in it, so simple that a device can do it too.

`Task.answer` is the definition of the answer; a rule says the same of every text, or the task has
none. `Ending.cut` is the definition of the end, for grading, the ledger and training alike.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

Form = Literal["digits", "number first", "last number", "letter at the end", "last letter", "line"]

OPENINGS = ("Q:", "Question:", "User:", "Human:")  # how models begin a question of their own
DIGITS = "0123456789０１２３４５６７８９"
_DIGIT_FIRST = re.compile(f"[^A-Za-z{DIGITS}]*[{DIGITS}]")
_FINDING = {"answer", "find", "canonical"}


@dataclass(frozen=True)
class Ending:
    r"""Where a completion ends if the model goes on after its answer.

    Models that have read many questions in a row ask themselves the next one. What they write from
    there on is neither graded nor kept: their answer to a question of their own is no answer.

    Attributes:
        marker: what stands before the answer. The completion ends with the line on which the first
            marker has an answer after it. "": no such line ends it.
        letters: an answer is one of these in parentheses, with which the line ends.
        number: an answer has a digit before any letter: "#### Step 2" is a heading.
            With neither of the two, it is anything but white space.
        openings: how a question begins, such as "Q:". The completion ends before the first line
            that begins so, if anything stands before that.
    """

    marker: str = ""
    letters: str = ""
    number: bool = False
    openings: tuple[str, ...] = ()

    def cut(self, text: str) -> str:
        """The completion in a text; the text itself where nothing follows the completion."""
        begin = len(text) - len(text.lstrip())
        ends = [text.find(f"\n{opening}", begin) for opening in self.openings]
        ends = [len(text), *(place for place in ends if place >= 0)]
        if self.marker:
            ends.extend(self._lines(text))
        end = min(ends)
        return text[:end].rstrip() if end < len(text) else text

    def _lines(self, text: str) -> list[int]:
        """Where the answer's line ends, if there is one and it does."""
        place = text.find(self.marker)
        while place >= 0:
            start = place + len(self.marker)
            line = first_line(text[start:])
            if self._answers(line):
                return [start + len(line)]
            place = text.find(self.marker, place + 1)
        return []

    def _answers(self, line: str) -> bool:
        if self.letters:
            return re.fullmatch(rf".*\([{self.letters}]\)\.?\s*", line, re.DOTALL) is not None
        return (_DIGIT_FIRST.match(line) is not None) if self.number else bool(line.strip())


@dataclass(frozen=True)
class AnswerRule:
    """Where the answer stands, and in what form.

    Attributes:
        form: what is read of the text after the marker:
            "digits": one line of digits and spaces, such as 8 8 3.
            "number first": the number it begins with; see `numbers.leading`.
            "last number": see `numbers.last`.
            "letter at the end": the one in parentheses, on the first line; a full stop and spaces
                may follow. Another letter in parentheses, and there is no answer.
            "last letter": the last one in parentheses, in lower case.
            "line": its first line; a number if it is one, else its words.
        marker: what stands before the answer. "": the whole text counts.
        first: of several markers the first counts, not the last.
        letters: those that may be an answer, where it is one.
        ending: where the text ends in which it is found.
    """

    form: Form
    marker: str = ""
    first: bool = False
    letters: str = ""
    ending: Ending = Ending()


def first_line(text: str) -> str:
    """What stands before the first line break of any kind (see `str.splitlines`)."""
    return (text.splitlines() or [""])[0]


def finds_as(owner: type, task: object, but: Collection[str] = ()) -> bool:
    """Whether no class derived from `owner` replaces a part of how it finds answers.

    A rule that `owner` knows holds for such a task; one with an `answer`, `find` or `canonical` of
    its own must say its own rule, or is graded on the host.

    Args:
        owner: the class that has the rule.
        task: the task.
        but: parts that may be replaced.
    """
    classes, parts = type(task).__mro__, _FINDING.difference(but)
    return not any(parts & vars(cls).keys() for cls in classes[: classes.index(owner)])
