"""MathQA (Amini et al., 2019): word problems with five choices, which are one text in the data.

The text is "a ) 38 , b ) 27.675 , c ) 30 , d ) data inadequate , e ) none of these", or a Python
list of such parts. The data's rationales are rough notes, so the worked examples are not from it.
"""

import re
from collections.abc import Sequence
from typing import ClassVar

from star_jax.tasks import equations
from star_jax.tasks.multiple_choice import rows
from star_jax.tasks.multiple_choice.base import MultipleChoice
from star_jax.tasks.multiple_choice.science import worked
from star_jax.tasks.multiple_choice.text import LETTERS
from star_jax.tasks.rows import Flaw, Row
from star_jax.tasks.task import Problem

_TWICE = re.compile(rf"\b([{LETTERS}]) \) (?=\1 \) )")  # "a ) a ) 56"
_LABEL = re.compile(rf"(?:^|(?<=[\s,'\"\[]))([{LETTERS}]) \)")


class MathQA(MultipleChoice):
    """MathQA as a task; a problem's group is its category ("gain", "physics")."""

    name: ClassVar[str] = "math_qa"

    def fields(self) -> Sequence[str]:
        """Returns the fields of the published data."""
        return "Problem", "options", "correct"

    def problem(self, split: str, row: Row) -> Problem | Flaw:
        """Returns the problem in a row, or the row's flaw."""
        del split
        values = row.values
        question = rows.spaced(values.get("Problem"))
        letter = rows.spaced(values.get("correct")).lower()
        if question and not letter:
            return Flaw(row.line, "no answer", 'no "correct"')
        right = LETTERS.index(letter) if letter in tuple(LETTERS) else None
        group = rows.spaced(values.get("category")) or "other"
        texts = options(rows.spaced(values.get("options")))
        return rows.problem(row, question, texts, right, group)

    def wrong_step(self, problem: Problem, completion: str) -> bool | None:
        """Returns whether an equation is false, or the words of another choice conclude it."""
        checks = equations.wrong(completion), super().wrong_step(problem, completion)
        known = [check for check in checks if check is not None]
        return any(known) if known else None

    def steps(self, problem: Problem, completion: str) -> tuple[str, ...] | None:
        """Returns the equations of the rationale; None without any."""
        del problem
        return equations.steps(completion) or None

    def worked(self) -> Sequence[Problem]:
        """Returns four problems that are not from the data."""
        return WORKED


def options(text: str) -> list[str]:
    """Returns the choices in the text of "options"; [] if its labels are not a, b, c, ..."""
    _, *parts = _LABEL.split(_TWICE.sub("", text))
    labels, texts = parts[::2], parts[1::2]
    if "".join(labels) != LETTERS[: len(labels)]:
        return []
    return [part.strip(" ,'\"[]") for part in texts]


WORKED = (
    worked(
        "worked 1",
        "general",
        "a bus covers 150 km in 2 . 5 hours . what is its average speed ?",
        ("50 km / h", "60 km / h", "65 km / h", "70 km / h", "75 km / h"),
        "b",
        "Speed is distance over time. 150 / 2.5 = 60, in km per hour.",
    ),
    worked(
        "worked 2",
        "gain",
        "a lamp bought for $ 40 is sold for $ 52 . what is the gain in per cent ?",
        ("12 %", "23 %", "25 %", "30 %", "52 %"),
        "d",
        "The gain is 52 - 40 = 12 dollars. In per cent of the cost it is 12 / 40 * 100 = 30.",
    ),
    worked(
        "worked 3",
        "probability",
        "a bag has 3 red and 5 blue balls . what is the chance to draw a red one ?",
        ("3 / 8", "3 / 5", "5 / 8", "1 / 3", "1 / 2"),
        "a",
        "There are 3 + 5 = 8 balls, each as likely as any other. 3 of the 8 are red.",
    ),
    worked(
        "worked 4",
        "geometry",
        "the length of a rectangle is twice its width and its perimeter is 36 cm . what is its "
        "area in square cm ?",
        ("36", "54", "64", "72", "81"),
        "d",
        "With width w the perimeter is 2 * (w + 2 * w) = 6 * w = 36, so w = 6 and the length is "
        "12. The area is 6 * 12 = 72.",
    ),
)
"""Problems in the spelling of the data, which puts spaces around every sign."""
