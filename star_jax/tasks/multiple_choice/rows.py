"""Rows of multiple-choice data sets -> problems, for every layout that they come in.

One question of CommonsenseQA, ARC and OpenBookQA is laid out as

    {"id", "question": {"stem", "choices": [{"label", "text"}]}, "answerKey"}    its authors' files
    {"id", "question", "choices": {"label": [], "text": []}, "answerKey"}        hub; TFDS of ARC
    {"id", "question_stem", "choices": ..., "answerKey"}                         hub, OpenBookQA
    {"question": {"stem", "choice_A", "choice_B", ...}, "answerKey"}             TFDS of OpenBookQA

where `answerKey` is a label, or a number from 0 where a class has been made of it.

A label may be a number, and the key another spelling of it: 1, 1.0 and "1" are all the label "1".
Only beside the letters A, B, ... is a number the place from 0; beside other labels, or none, it
names no choice, as it would be a guess whether they are counted from 0 or from 1.
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
    """The problem in a row of any layout above, or what is wrong with it.

    Its group is the question's first word of asking: "where", "what"; "other" without one.
    """
    asked = row.values.get("question", row.values.get("question_stem"))
    nested = asked if isinstance(asked, Mapping) else {}
    question = spaced(nested.get("stem") if nested else asked)
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
    """The problem with these parts, or what is wrong with them.

    Args:
        row: where they come from. Its "id" is the problem's; without one the line is.
        question: "" if there is none.
        choices: their texts, in order; two to five.
        right: which of them is right, from 0; None if the row's answer is not among them.
        group: what the problem is reported under.
        reasons: a true rationale; "" where none is known.
        said: the row's answer, for the message where it is not among them.
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
    """A text with its words one space apart, on one line; "" for what is no text."""
    return " ".join(text.split()) if isinstance(text, str) else ""


def kind(question: str) -> str:
    """The question's first word of asking, or "other"."""
    match = _ASKING.search(question)
    return match[1].lower() if match else "other"


def _choices(holder: Mapping[str, Any]) -> tuple[list[object], list[object]]:
    """Texts and labels of the choices; two empty lists where there are none."""
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
    """The place of the label `key`, from 0, or the place that it is; None if it names no choice."""
    names, name = [_name(label) for label in labels], _name(key)
    if names.count(name) == 1 and name:
        return names.index(name)
    lettered = bool(names) and [name.upper() for name in names] == [*LETTERS.upper()[: len(names)]]
    counts = isinstance(key, int | float) and not isinstance(key, bool) and name.isdigit()
    return int(name) if lettered and counts else None


def _name(label: object) -> str:
    """What a label is called: 1, 1.0 and "1" alike; "" for what is no text or number."""
    name = "" if isinstance(label, bool) else values.text(label).strip()
    return number_text.canonical(name) or name
