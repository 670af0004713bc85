"""How a task finds an answer in a text, said so simply that a device can do the same.

`Task.answer` is the definition; such a rule says the same of every text, or the task has none.
"""

from dataclasses import dataclass
from typing import Literal

Form = Literal["digits", "number first", "last number", "letter at the end", "last letter", "line"]

_FINDING = {"answer", "find", "canonical"}


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
    """

    form: Form
    marker: str = ""
    first: bool = False
    letters: str = ""


def finds_as(owner: type, task: object) -> bool:
    """Whether no class derived from `owner` replaces a part of how it finds answers.

    A rule that `owner` knows holds for such a task; one with an `answer`, `find` or `canonical` of
    its own must say its own rule, or is graded on the host.
    """
    classes = type(task).__mro__
    return not any(_FINDING & vars(cls).keys() for cls in classes[: classes.index(owner)])
