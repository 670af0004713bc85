"""Rules for the end of a completion and its answer, simple enough for a device to follow too.

`Task.answer` is the definition of the answer. A task's rule finds the same answer in every text,
or the task has no rule. `Ending.cut` is the definition of the end, for grading, the ledger and
training alike.
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
    r"""The end of a completion if the model goes on after its answer.

    Models that have read many questions in a row ask themselves the next one. The text from there
    on is neither graded nor kept: an answer to a question of their own is no answer.

    Attributes:
        marker: text before the answer. The completion ends with the first line that has an answer
            after the marker. "": no such line ends it.
        letters: letters that may be an answer, one in parentheses at the end of the line.
        number: True if an answer has a digit before any letter: "#### Step 2" is a heading.
            With neither `letters` nor `number`, anything but white space is an answer.
        openings: beginnings of a question, such as "Q:". The completion ends before the first line
            that begins so, if any text stands before that line.
    """

    marker: str = ""
    letters: str = ""
    number: bool = False
    openings: tuple[str, ...] = ()

    def cut(self, text: str) -> str:
        """Returns the completion in a text; the text itself if nothing follows the completion."""
        begin = len(text) - len(text.lstrip())
        ends = [text.find(f"\n{opening}", begin) for opening in self.openings]
        ends = [len(text), *(position for position in ends if position >= 0)]
        if self.marker:
            ends.extend(self._lines(text))
        end = min(ends)
        return text[:end].rstrip() if end < len(text) else text

    def _lines(self, text: str) -> list[int]:
        """Returns the end of the first line with an answer, in a list; [] if no line has one."""
        position = text.find(self.marker)
        while position >= 0:
            start = position + len(self.marker)
            line = first_line(text[start:])
            if self._answers(line):
                return [start + len(line)]
            position = text.find(self.marker, position + 1)
        return []

    def _answers(self, line: str) -> bool:
        if self.letters:
            return re.fullmatch(rf".*\([{self.letters}]\)\.?\s*", line, re.DOTALL) is not None
        return (_DIGIT_FIRST.match(line) is not None) if self.number else bool(line.strip())


@dataclass(frozen=True)
class AnswerRule:
    """The position and the form of the answer in a completion.

    Attributes:
        form: part of the text after the marker that is the answer:
            "digits": one line of digits and spaces, such as 8 8 3.
            "number first": the number that begins it; see `number_text.leading`.
            "last number": the last number in it; see `number_text.last`.
            "letter at the end": the letter in parentheses on the first line. A full stop and
                spaces may follow. With another letter in parentheses there is no answer.
            "last letter": the last letter in parentheses, in lower case.
            "line": the first line: a number if it is one, else its words.
        marker: text before the answer. "": the whole text counts.
        first: True if the first of several markers counts instead of the last.
        letters: letters that may be an answer, for the forms that are a letter.
        ending: end of the completion, in which the answer is looked for.
    """

    form: Form
    marker: str = ""
    first: bool = False
    letters: str = ""
    ending: Ending = Ending()


def first_line(text: str) -> str:
    """Returns the text before the first line break of any kind (see `str.splitlines`)."""
    return (text.splitlines() or [""])[0]


def finds_as(owner: type, task: object, but: Collection[str] = ()) -> bool:
    """Returns whether a task finds answers exactly as class `owner` does.

    The rule of `owner` holds for such a task. A derived class with an `answer`, `find` or
    `canonical` of its own must define its own rule, or it is graded on the host.

    Args:
        owner: class that defines the rule.
        task: task of that class or of a derived one.
        but: names of methods that a derived class may replace nevertheless.
    """
    classes, parts = type(task).__mro__, _FINDING.difference(but)
    return not any(parts & vars(cls).keys() for cls in classes[: classes.index(owner)])
