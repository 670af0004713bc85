"""What two graders say of one text, and how to name their difference.

A rule finds a number in a text and labels the text right or wrong. Most differences are by design,
and `difference` names those by what is seen in the text; what it cannot name, a person must judge.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from star_jax.tasks import number_text

MARKER = "#### "  # what GSM8K has before an answer
_OFFICIAL = re.compile(re.escape(MARKER) + r"(\-?[0-9\.\,]+)")

# Differences by design: ours is stricter ...
CUT_OFF = "cut off"  # the budget ended the text: its last number may go on
NOT_ONE_NUMBER = "not one number"  # theirs takes a part of 1/2, 12 000 or 10:30, or joins 12,34
AFTER_THE_END = "after the end"  # theirs reads on after the answer's line
LATER_MARKER = "a later marker"  # theirs passes over one without a number
# ... or theirs is.
AS_STRINGS = "compared as strings"  # the same number, such as 72.00 and 72
OURS_ALONE = "read by ours alone"  # such as $72 after the marker
STRICTER = {CUT_OFF, NOT_ONE_NUMBER, AFTER_THE_END, LATER_MARKER}
LOOSER = {AS_STRINGS, OURS_ALONE}
UNEXPLAINED = "unexplained"


@dataclass(frozen=True)
class Reading:
    """What a rule says of a text.

    Attributes:
        number: what it takes for the answer, as it stands there or canonical; None for nothing.
        right: its label.
    """

    number: str | None
    right: bool


@dataclass(frozen=True)
class Both:
    """One text by two rules.

    Attributes:
        text: whole, up to what stopped the model.
        completion: what ours reads of it; see `grading.Verdict`.
        truncated: the budget ended it.
        ours: by our rule.
        theirs: by the other one.
        marker: what theirs wants right before the number; "": it takes the last number.
    """

    text: str
    completion: str
    truncated: bool
    ours: Reading
    theirs: Reading
    marker: str = ""

    @property
    def same_label(self) -> bool:
        """Whether both say right, or both wrong."""
        return self.ours.right == self.theirs.right

    @property
    def same_number(self) -> bool:
        """Whether both read the same number, however it is written, or both none."""
        return value(self.ours.number) == value(self.theirs.number)


def official(text: str, solution: str) -> Reading:
    """The rule published with GSM8K: the number after the first marker that has one.

    Args:
        text: the completion.
        solution: the gold solution, a row's `answer`. Numbers are compared as strings, without
            their commas.
    """
    found, gold = _OFFICIAL.search(text), _OFFICIAL.search(solution)
    if found is None or gold is None:
        return Reading(None, False)
    return Reading(found[1], found[1].replace(",", "") == gold[1].replace(",", ""))


def value(number: str | None) -> Decimal | None:
    """A number that a rule has read; None where it is none, such as "[invalid]" or "...".

    Commas, dollar signs and a full stop at its end are left out.
    """
    try:
        return Decimal((number or "").replace(",", "").replace("$", "").removesuffix("."))
    except InvalidOperation:
        return None


def difference(both: Both) -> str:
    """The name of the difference between two rules on a text; "" where they agree throughout."""
    if both.same_number:
        if both.same_label:
            return ""
        return CUT_OFF if both.truncated else AS_STRINGS
    theirs = value(both.theirs.number)
    if theirs is None:
        return OURS_ALONE
    place = _place(both)
    if place >= len(both.completion):
        return AFTER_THE_END
    if theirs not in map(value, number_text.every(_line(both.text, place))):
        return NOT_ONE_NUMBER
    return LATER_MARKER if both.text.count(MARKER, 0, place) > 1 else UNEXPLAINED


def _place(both: Both) -> int:
    """Where theirs stands in the text."""
    number = both.theirs.number or ""
    if both.marker:
        return both.text.find(both.marker + number) + len(both.marker)
    return both.text.rfind(number)


def _line(text: str, place: int) -> str:
    """The line around a place, from the marker on if there is one before it."""
    start, end = text.rfind("\n", 0, place) + 1, text.find("\n", place)
    marker = text.rfind(MARKER, start, place)
    return text[start if marker < 0 else marker + len(MARKER) : None if end < 0 else end]


def table(pairs: Mapping[str, Sequence[Both]]) -> list[str]:
    """Lines of Markdown: a row for each pair of rules, by its name."""
    lines = [
        "| ours, theirs | texts | same label | same number | numbers read | right | differences |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, texts in pairs.items():
        names = Counter(filter(None, map(difference, texts)))
        told = ", ".join(f"{count} {what}" for what, count in sorted(names.items())) or "none"
        lines.append(
            f"| {name} | {len(texts)} | {sum(both.same_label for both in texts)} "
            f"| {sum(both.same_number for both in texts)} "
            f"| {sum(value(both.ours.number) is not None for both in texts)}, "
            f"{sum(value(both.theirs.number) is not None for both in texts)} "
            f"| {sum(both.ours.right for both in texts)}, "
            f"{sum(both.theirs.right for both in texts)} | {told} |"
        )
    return lines
