"""Every layout of a row gives the same problem, and a bad row is told of."""

from typing import Any

import pytest

from star_jax.tasks import choice_rows
from star_jax.tasks.rows import Flaw, Row
from star_jax.tasks.task import Problem

STEM = "Where is gold kept?"
TEXTS = ["bank", "jar", "sea", "hat"]
LISTED = [{"label": label, "text": text} for label, text in zip("ABCD", TEXTS, strict=True)]
COLUMNS = {"label": list("ABCD"), "text": TEXTS}
AUTHORS = {"id": "x1", "answerKey": "B", "question": {"stem": STEM, "choices": LISTED}}
TFDS = {"stem": STEM} | {f"choice_{label}": text for label, text in zip("ABCD", TEXTS, strict=True)}


@pytest.mark.parametrize(
    "values",
    [
        AUTHORS,
        {"id": "x1", "answerKey": "B", "question": STEM, "choices": COLUMNS},
        {"id": "x1", "answerKey": "B", "question": STEM, "choices": LISTED, "question_concept": "gold"},
        {"id": "x1", "answerKey": "B", "question_stem": STEM, "choices": COLUMNS, "fact1": "..."},
        {"id": "x1", "answerKey": 1, "question": TFDS},
        {"id": "x1", "answerKey": 1, "question": STEM, "choices": {"label": [0, 1, 2, 3], "text": TEXTS}},
        {"id": "x1", "answerKey": "2", "question": STEM, "choices": {"label": list("1234"), "text": TEXTS}},
        {"id": "x1", "answerKey": " B ", "question": "  Where is\ngold  kept? ", "choices": COLUMNS},
    ],
)  # fmt: skip
def test_layouts(values: dict[str, Any]):
    assert choice_rows.convert(Row(3, values)) == Problem(
        "x1", STEM, "b", "", "where", ("bank", "jar", "sea", "hat")
    )


def test_without_an_id_the_line_is_one():
    problem = choice_rows.convert(Row(3, {"answerKey": 1, "question": TFDS}))
    assert isinstance(problem, Problem) and problem.id == "line 3"


@pytest.mark.parametrize(
    ("change", "kind", "detail"),
    [
        ({"question": {"choices": LISTED}}, "no question", "no text"),
        ({"question": {"stem": " ", "choices": LISTED}}, "no question", "no text"),
        ({"question": {"stem": 7, "choices": LISTED}}, "no question", "no text"),
        ({"question": None}, "no question", "no text"),
        ({"answerKey": None}, "no answer", "answerKey"),
        ({"answerKey": ""}, "no answer", "answerKey"),
        ({"answerKey": "E"}, "bad answer", "none of the 4 choices"),
        ({"answerKey": "b"}, "bad answer", "none of the 4 choices"),
        ({"answerKey": -1}, "bad answer", "none of the 4 choices"),
        ({"answerKey": 4}, "bad answer", "none of the 4 choices"),
        ({"answerKey": ["B"]}, "bad answer", "none of the 4 choices"),
        ({"question": {"stem": STEM}}, "bad answer", "need 2 to 5"),
        ({"question": {"stem": STEM, "choices": "bank"}}, "bad answer", "need 2 to 5"),
        ({"question": {"stem": STEM, "choices": LISTED[:1]}}, "bad answer", "need 2 to 5"),
        ({"question": {"stem": STEM, "choices": LISTED + LISTED}}, "bad answer", "need 2 to 5"),
        ({"question": {"stem": STEM, "choices": [*LISTED, "hat"]}}, "bad answer", "none empty"),
        ({"question": {"stem": STEM, "choices": [*LISTED, {"label": "E"}]}}, "bad answer", "none empty"),
        ({"question": STEM, "choices": {"label": [0, 1], "text": TEXTS[:2]}, "answerKey": 2}, "bad answer", "none of the 2 choices"),
        ({"question": STEM, "choices": {"label": [1, 2], "text": TEXTS[:2]}, "answerKey": 0}, "bad answer", "none of the 2 choices"),
        ({"question": STEM, "choices": {"label": None, "text": None}}, "bad answer", "need 2 to 5"),
    ],
)  # fmt: skip
def test_a_bad_row(change: dict[str, Any], kind: str, detail: str):
    flaw = choice_rows.convert(Row(3, AUTHORS | change))
    assert isinstance(flaw, Flaw)
    assert (flaw.line, flaw.kind) == (3, kind)
    assert detail in flaw.detail


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("Where is it?", "where"),
        ("If it rains, what gets wet?", "what"),
        ("What is where?", "what"),
        ("Nowhere is it wet.", "other"),
        ("The spine is located in your", "other"),
    ],
)
def test_kind(question: str, kind: str):
    assert choice_rows.kind(question) == kind


def test_reasons_become_a_rationale():
    problem = choice_rows.problem(Row(1, {}), STEM, TEXTS, 0, "where", "Banks have\nvaults.")
    assert isinstance(problem, Problem)
    assert problem.rationale == "Banks have vaults. Therefore, the answer is bank"
