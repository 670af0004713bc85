"""Every layout of a row gives the same problem, and a bad row is told of."""

from typing import Any

import pytest

from star_jax.tasks.multiple_choice import rows
from star_jax.tasks.rows import Flaw, Row
from star_jax.tasks.task import Problem

STEM = "Where is gold kept?"
TEXTS = ["bank", "jar", "sea", "hat"]
NAN, INF = float("nan"), float("inf")
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
    assert rows.convert(Row(3, values)) == Problem(
        "x1", STEM, "b", "", "where", ("bank", "jar", "sea", "hat")
    )


def test_without_an_id_the_line_is_one():
    problem = rows.convert(Row(3, {"answerKey": 1, "question": TFDS}))
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
    flaw = rows.convert(Row(3, AUTHORS | change))
    assert isinstance(flaw, Flaw)
    assert (flaw.line, flaw.kind) == (3, kind)
    assert detail in flaw.detail


@pytest.mark.parametrize(
    ("labels", "key", "answer"),
    [
        # the key and its label, spelt in two ways
        (["1", "2", "3", "4"], 1, "a"),
        (["1", "2", "3", "4"], 4, "d"),
        (["1", "2", "3", "4"], 2.0, "b"),
        (["1", "2", "3", "4"], "2.0", "b"),
        ([1, 2, 3, 4], "1", "a"),
        ([1.0, 2.0, 3.0, 4.0], 3, "c"),
        ([" 1", "2 ", "3", "4"], "4", "d"),
        (["0", "1", "2", "3"], 1, "b"),
        ([0, 1, 2, 3], "0", "a"),
        (["4", "3", "2", "1"], 1, "d"),
        # a class's number, from 0
        (["A", "B", "C", "D"], 0, "a"),
        (["A", "B", "C", "D"], 3.0, "d"),
        (["a", "b", "c", "d"], 1, "b"),
        # what would be a guess
        (["1", "2", "3", "4"], 0, None),
        (["1", "2", "3", "4"], 5, None),
        (["1", "2", "3", "4"], 1.5, None),
        (["1", "2", "3", "4"], True, None),
        ([1, 1, 2, 3], 1, None),
        (["A", "B", "C", "D"], "1", None),
        (["A", "B", "C", "D"], True, None),
        (["A", "B", "1", "2"], 3, None),
        (["B", "A", "C", "D"], 1, None),
        (["F", "G", "H", "J"], 1, None),
        ([None, None, None, None], 1, None),
        ([], 1, None),
    ],
)
def test_a_number_is_the_choice_of_that_label(labels: list[Any], key: object, answer: str | None):
    choices = {"label": labels, "text": TEXTS}
    found = rows.convert(Row(3, {"question": STEM, "choices": choices, "answerKey": key}))
    assert getattr(found, "answer", None) == answer
    if isinstance(found, Flaw):
        told = f"its answer {key!r}, beside the labels {labels}, is none of the 4 choices"
        assert (found.kind, found.detail) == ("bad answer", told)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"answerKey": NAN}, "no answer"),
        ({"answerKey": -INF}, "no answer"),
        ({"question": {"stem": NAN, "choices": LISTED}}, "no question"),
        ({"question": {"stem": STEM, "choices": [*LISTED[:3], {"label": "D", "text": NAN}]}}, "bad answer"),
        ({"question": {"stem": STEM, "choices": [*LISTED[:1], {"label": NAN, "text": "jar"}]}}, "bad answer"),
    ],
)  # fmt: skip
def test_what_a_table_writes_for_nothing_is_nothing(change: dict[str, Any], kind: str):
    flaw = rows.convert(Row(3, AUTHORS | change))
    assert isinstance(flaw, Flaw) and flaw.kind == kind
    nameless = rows.convert(Row(3, AUTHORS | {"id": NAN}))
    assert isinstance(nameless, Problem) and nameless.id == "line 3"


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
    assert rows.kind(question) == kind


def test_reasons_become_a_rationale():
    problem = rows.problem(Row(1, {}), STEM, TEXTS, 0, "where", "Banks have\nvaults.")
    assert isinstance(problem, Problem)
    assert problem.rationale == "Banks have vaults. Therefore, the answer is bank"
