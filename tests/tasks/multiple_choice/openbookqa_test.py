"""OpenBookQA: the layouts of its authors, of the hub and of TFDS."""

import pathlib
from typing import Any

import pytest

import choice_data
from star_jax.tasks.multiple_choice import science
from star_jax.tasks.multiple_choice.openbookqa import OpenBookQA

STEM = "A magnet will stick to"
TEXTS = ["a belt buckle", "a wooden table", "a plastic cup", "a paper plate"]
LISTED = [{"label": label, "text": text} for label, text in zip("ABCD", TEXTS, strict=True)]
NAMED = {f"choice_{label}": text for label, text in zip("ABCD", TEXTS, strict=True)}


@pytest.mark.parametrize(
    "row",
    [
        {"id": "7", "question": {"stem": STEM, "choices": LISTED}, "answerKey": "A"},
        {"id": "7", "question_stem": STEM, "choices": {"label": list("ABCD"), "text": TEXTS}, "answerKey": "A"},
        {"question": {"stem": STEM} | NAMED, "fact1": "iron is magnetic", "answerKey": 0},
    ],
)  # fmt: skip
def test_layouts(tmp_path: pathlib.Path, row: dict[str, Any]):
    folder = choice_data.write(tmp_path, "test", [row])
    (problem,) = OpenBookQA(str(folder)).test(0)
    assert (problem.question, problem.answer, problem.group) == (STEM, "a", "other")
    assert problem.choices == tuple(TEXTS)


def test_its_worked_examples_are_not_from_the_data():
    assert OpenBookQA("").few_shot(0, 6) == list(science.WORKED)
