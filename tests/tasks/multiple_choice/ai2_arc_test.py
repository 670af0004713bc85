"""ARC: labels that are letters or numbers, three to five of them."""

import pathlib

import choice_data
from star_jax.tasks.multiple_choice import science
from star_jax.tasks.multiple_choice.ai2_arc import Ai2Arc


def test_the_rows_of_every_release_are_read(tmp_path: pathlib.Path):
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


def test_its_worked_examples_are_not_from_the_data(tmp_path: pathlib.Path):
    task = Ai2Arc(str(choice_data.write(tmp_path, "train", choice_data.rows(0, 50))))
    assert task.few_shot(0, 4) == list(science.WORKED[:4])
    assert len(task.train(0, 1, 0)) + len(task.evaluation(0, 0, 0)) == 50
