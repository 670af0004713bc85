"""MathQA: choices that are one text."""

import pathlib
from typing import Any

import pytest

import choice_data
from star_jax.tasks.multiple_choice import math_qa
from star_jax.tasks.multiple_choice.math_qa import MathQA
from star_jax.tasks.rows import Flaw, Row

ROW = {
    "Problem": "the average of 3 , 5 and x is 6 . x = ?",
    "Rationale": '"3 + 5 + x = 18 . answer : c"',
    "options": "a ) 8 , b ) 9 , c ) 10 , d ) data inadequate , e ) none of these",
    "correct": "c",
    "category": "general",
}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (ROW["options"], ["8", "9", "10", "data inadequate", "none of these"]),
        ("a ) rs . 1,200 , b ) rs . 5 , c ) 0.5 % , d ) - 3 , e ) 1 / 2", ["rs . 1,200", "rs . 5", "0.5 %", "- 3", "1 / 2"]),
        ("a ) 1 b ) 2 c ) 3 d ) 4 e ) 5", ["1", "2", "3", "4", "5"]),
        ("a ) 9 a . m . , b ) ab ) , c ) x", ["9 a . m .", "ab )", "x"]),
        ("a ) 5 , b ) ( 3 a ) , c ) 7", []),  # unusable rather than misread
        ("['a ) 38', 'b ) 27.675', 'c ) 30', 'd ) 1', 'e ) none']", ["38", "27.675", "30", "1", "none"]),
        ('["a ) it\'s 3", "b ) 4"]', ["it's 3", "4"]),
        ("a ) a ) 56 , b ) b ) 67 , c ) 9", ["56", "67", "9"]),
        ("b ) 1 , a ) 2", []),
        ("a ) 1 , c ) 2", []),
        ("1 , 2 , 3", []),
        ("", []),
    ],
)  # fmt: skip
def test_options(text: str, found: list[str]):
    assert math_qa.options(text) == found


def test_a_row(tmp_path: pathlib.Path):
    folder = choice_data.write(tmp_path, "test", [ROW])
    (problem,) = MathQA(str(folder)).test(0)
    assert (problem.id, problem.question, problem.answer) == ("line 1", ROW["Problem"], "c")
    assert problem.choices == ("8", "9", "10", "data inadequate", "none of these")
    assert (problem.rationale, problem.group) == ("", "general")


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"Problem": ""}, "no question"),
        ({"Problem": None}, "no question"),
        ({"correct": ""}, "no answer"),
        ({"correct": 2}, "no answer"),
        ({"correct": "f"}, "bad answer"),
        ({"correct": "ab"}, "bad answer"),
        ({"correct": "c", "options": "a ) 1 , b ) 2"}, "bad answer"),
        ({"options": "a ) , b ) 2 , c ) 3"}, "bad answer"),
        ({"options": None}, "bad answer"),
    ],
)
def test_a_bad_row(change: dict[str, Any], kind: str):
    flaw = MathQA("").problem("train", Row(4, ROW | change))
    assert isinstance(flaw, Flaw)
    assert (flaw.line, flaw.kind) == (4, kind)


def test_its_worked_examples_are_not_from_the_data():
    assert MathQA("").few_shot(0, 10) == list(math_qa.WORKED)


@pytest.mark.parametrize(
    ("rationale", "letter", "wrong", "steps"),
    [
        ("2 * 3 = 6 , so it is 8", "a", False, ("2*3=6",)),
        ("2 * 3 = 7 , so it is 8", "a", True, ("2*3=7",)),
        ("2 * 3 = 6 , so it is 8", "b", True, ("2*3=6",)),  # 8 is (a)
        ("it is 8", "a", False, None),
        ("who knows", "a", None, None),
    ],
)
def test_equations_are_checked(
    tmp_path: pathlib.Path, rationale: str, letter: str, wrong: bool | None, steps: object
):
    task = MathQA(str(choice_data.write(tmp_path, "test", [ROW])))
    (problem,) = task.test(0)
    concluded = f"{rationale}. Therefore, the answer is ({letter})."
    if "8" in rationale:
        concluded = f"{rationale}. Therefore, the answer is 8 ({letter})."
    assert task.wrong_step(problem, concluded) is wrong
    assert task.steps(problem, concluded) == steps
