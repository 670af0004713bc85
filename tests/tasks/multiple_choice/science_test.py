"""ARC and OpenBookQA: layouts of their rows; worked examples that are right and leak nothing."""

import pathlib
from typing import Any

import pytest

import choice_data
from star_jax.tasks import leaks
from star_jax.tasks.multiple_choice import math_qa, science, text
from star_jax.tasks.multiple_choice.science import Ai2Arc, OpenBookQA
from star_jax.tasks.task import Problem

STEM = "A magnet will stick to"
TEXTS = ["a belt buckle", "a wooden table", "a plastic cup", "a paper plate"]
LISTED = [{"label": label, "text": text} for label, text in zip("ABCD", TEXTS, strict=True)]
NAMED = {f"choice_{label}": text for label, text in zip("ABCD", TEXTS, strict=True)}

EVERY = pytest.mark.parametrize("example", [*science.WORKED, *math_qa.WORKED])


@EVERY
def test_its_completion_is_right(example: Problem):
    completion = text.completion(example.rationale, example.answer)
    assert text.answer(completion) == example.answer
    assert completion.endswith(
        f" Therefore, the answer is {text.text_of(example)} ({example.answer})."
    )
    assert text.flexible(example, completion.partition(" Therefore")[2]) == example.answer


@EVERY
def test_it_reasons_before_it_answers(example: Problem):
    answers = (text.text_of(example), f"({example.answer})")
    assert leaks.leaks(example.rationale, marks=[text.MARK], answers=answers) == []
    assert len(example.rationale.partition(text.CUE)[0].split()) >= 10


@pytest.mark.parametrize("examples", [science.WORKED, math_qa.WORKED])
def test_they_differ(examples: tuple[Problem, ...]):
    for values in ("id", "question", "rationale"):
        assert len({getattr(example, values) for example in examples}) == len(examples)
    assert len({example.answer for example in examples}) >= 3


def test_the_rationale_concludes_with_the_words_of_the_letter():
    example = science.worked("1", "what", "What?", ("yes", "no"), "b", "Because.")
    assert example.rationale == "Because. Therefore, the answer is no"


def test_the_rows_of_every_release_of_arc_are_read(tmp_path: pathlib.Path):
    texts = ["its mass", "its color", "its shape", "its smell"]
    three = {"label": list("ABC"), "text": texts[:3]}
    numbered = {"label": list("1234"), "text": texts}
    classes = {"label": [0, 1, 2, 3], "text": texts}
    rows = [
        {"id": "Mercury_1", "question": "Which changes?", "choices": three, "answerKey": "C"},
        {"id": "NYSEDREGENTS_2", "question": "How heavy?", "choices": numbered, "answerKey": "4"},
        {"id": "tfds", "question": "What weighs?", "choices": classes, "answerKey": 0},
    ]
    folder = choice_data.write(tmp_path, "test", rows)
    choice_data.write(folder, "train", choice_data.rows(0, 50))
    task = Ai2Arc(str(folder))
    found = {problem.id: (problem.answer, len(problem.choices)) for problem in task.test(0)}
    assert found == {"Mercury_1": ("c", 3), "NYSEDREGENTS_2": ("d", 4), "tfds": ("a", 4)}


def test_the_worked_examples_of_arc_are_not_from_the_data(tmp_path: pathlib.Path):
    task = Ai2Arc(str(choice_data.write(tmp_path, "train", choice_data.rows(0, 50))))
    assert task.few_shot(0, 4) == list(science.WORKED[:4])
    assert len(task.train(0, 1, 0)) + len(task.evaluation(0, 0, 0)) == 50


@pytest.mark.parametrize(
    "row",
    [
        {"id": "7", "question": {"stem": STEM, "choices": LISTED}, "answerKey": "A"},
        {"id": "7", "question_stem": STEM, "choices": {"label": list("ABCD"), "text": TEXTS}, "answerKey": "A"},
        {"question": {"stem": STEM} | NAMED, "fact1": "iron is magnetic", "answerKey": 0},
    ],
)  # fmt: skip
def test_layouts_of_openbookqa(tmp_path: pathlib.Path, row: dict[str, Any]):
    folder = choice_data.write(tmp_path, "test", [row])
    (problem,) = OpenBookQA(str(folder)).test(0)
    assert (problem.question, problem.answer, problem.group) == (STEM, "a", "other")
    assert problem.choices == tuple(TEXTS)


def test_the_worked_examples_of_openbookqa_are_not_from_the_data():
    assert OpenBookQA("").few_shot(0, 6) == list(science.WORKED)
