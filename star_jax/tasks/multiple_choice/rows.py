"""Converts rows of multiple-choice data sets to problems, in every layout that they come in.

One question of CommonsenseQA, ARC and OpenBookQA has one of these layouts

    {"id", "question": {"stem", "choices": [{"label", "text"}]}, "answerKey"}    its authors' files
    {"id", "question", "choices": {"label": [], "text": []}, "answerKey"}        hub; TFDS of ARC
    {"id", "question_stem", "choices": ..., "answerKey"}                         hub, OpenBookQA
    {"question": {"stem", "choice_A", "choice_B", ...}, "answerKey"}             TFDS of OpenBookQA

where `answerKey` is a label, or a number from 0 if the data set made a class of it.

A label may be a number, and the key another spelling of it: 1, 1.0 and "1" are all the label "1".
If the labels are the letters A, B, ..., a number is the choice's index from 0. With other labels,
or none, a number names no choice: whether the count begins with 0 or with 1 would be a guess.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from star_jax.tasks import number_text, values
from star_jax.tasks.multiple_choice.text import LETTERS, conclude
from star_jax.tasks.rows import Flaw, Row
from star_jax.tasks.task import Problem

_ASKING = re.compile(r"\b(where|what|who|whom|why|how|when|which)\b", re.IGNORECASE)


def convert(row: Row) -> Problem | Flaw:
    """Returns the problem in a row of any layout above, or the row's flaw.

    The problem's group is the question's first question word: "where", "what"; "other" without one.
    """
    field = row.values.get("question", row.values.get("question_stem"))
    nested = field if isinstance(field, Mapping) else {}
    question = spaced(nested.get("stem") if nested else field)
    texts, labels = _choices(nested or row.values)
    key = row.values.get("answerKey")
    if question and values.native(key) in (None, ""):
        return Flaw(row.line, "no answer", 'no "answerKey"')
    said = f" {key!r}, beside the labels {labels},"
    return problem(row, question, texts, _position(key, labels), kind(question), said=said)


def problem(
    row: Row,
    question: str,
    choices: Sequence[object],
    right: int | None,
    group: str,
    reasons: str = "",
    said: str = "",
) -> Problem | Flaw:
    """Returns the problem with these parts, or their flaw.

    Args:
        row: source of the parts. Its "id" is the problem's id; without one the line is.
        question: text of the question; "" if there is none.
        choices: texts of the choices, in order; two to five.
        right: index of the right choice, from 0; None if the row's answer is none of them.
        group: class that the problem is reported under.
        reasons: a true rationale; "" if none is known.
        said: the row's answer, for the message if it is none of the choices.
    """
    texts = [spaced(choice) for choice in choices]
    if not question:
        return Flaw(row.line, "no question", "no text to ask")
    if not 2 <= len(texts) <= len(LETTERS) or "" in texts:
        return Flaw(row.line, "bad answer", f"its choices are {texts}: need 2 to 5, none empty")
    if right is None or right >= len(texts):
        return Flaw(row.line, "bad answer", f"its answer{said} is none of the {len(texts)} choices")
    return Problem(
        id=str(values.native(row.values.get("id")) or f"line {row.line}"),
        question=question,
        answer=LETTERS[right],
        rationale=conclude(spaced(reasons), texts[right]) if reasons else "",
        group=group,
        choices=tuple(texts),
    )


def spaced(text: object) -> str:
    """Returns a text with its words one space apart, on one line; "" for anything but text."""
    return " ".join(text.split()) if isinstance(text, str) else ""


def kind(question: str) -> str:
    """Returns the question's first question word, or "other"."""
    match = _ASKING.search(question)
    return match[1].lower() if match else "other"


def _choices(holder: Mapping[str, Any]) -> tuple[list[object], list[object]]:
    """Returns the texts and labels of the choices; two empty lists if there are none."""
    choices = holder.get("choices")
    if isinstance(choices, Mapping):
        texts, labels = choices.get("text"), choices.get("label")
        if isinstance(texts, list) and isinstance(labels, list):
            return texts, labels
        return [], []
    if isinstance(choices, list):
        items = [choice if isinstance(choice, Mapping) else {} for choice in choices]
        return [item.get("text") for item in items], [item.get("label") for item in items]
    named = [letter for letter in LETTERS.upper() if f"choice_{letter}" in holder]
    return [holder[f"choice_{letter}"] for letter in named], list(named)


def _position(key: object, labels: list[object]) -> int | None:
    """Returns the index, from 0, of the choice that `key` names; None if it names none."""
    names, name = [_name(label) for label in labels], _name(key)
    if names.count(name) == 1 and name:
        return names.index(name)
    lettered = bool(names) and [name.upper() for name in names] == [*LETTERS.upper()[: len(names)]]
    counts = isinstance(key, int | float) and not isinstance(key, bool) and name.isdigit()
    return int(name) if lettered and counts else None


def _name(label: object) -> str:
    """Returns the name of a label: "1" for 1, 1.0 and "1"; "" for anything but text or numbers."""
    name = "" if isinstance(label, bool) else values.text(label).strip()
    return number_text.canonical(name) or name
