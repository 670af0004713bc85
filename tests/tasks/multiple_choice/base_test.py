"""What the tasks of multiple choice share, on made-up rows."""

import pathlib

import pytest

import choice_data
from star_jax.tasks.multiple_choice import text
from star_jax.tasks.multiple_choice.base import MultipleChoice
from star_jax.tasks.multiple_choice.commonsense_qa import CommonsenseQA
from star_jax.tasks.multiple_choice.science import Ai2Arc, OpenBookQA
from star_jax.tasks.rows import DataError
from star_jax.tasks.task import Problem, Task

BAD = {"id": "bad", "answerKey": "F", "question": {"stem": "Why?", "choices": []}}


def make(folder: pathlib.Path, rows: list, **settings: float) -> MultipleChoice:
    return Ai2Arc(str(choice_data.write(folder, "train", rows)), **settings)


def test_it_is_a_task(tmp_path: pathlib.Path):
    task: Task = make(tmp_path, choice_data.rows(0, 100))
    problem = task.train(0, 1, 1)[0]
    assert task.prompt(problem, hint=True) == text.prompt(problem, hint=True)
    assert task.message(problem, hint=False) == text.message(problem, hint=False)
    assert task.in_distribution(problem.group)
    assert task.longest(problem.group) == ""
    assert task.corpus(0, 10, 0.5, 0.5) == []
    assert task.steps(problem, "2 + 3 = 5") is None
    assert (task.unit, task.separator, task.markup) == ("kind", "\n\n", ())


def test_nothing_is_read_until_asked():
    task = Ai2Arc("nowhere")
    assert task.few_shot(0, 2) and task.flaws == {}
    with pytest.raises(DataError):
        task.train(0, 1, 1)


def test_the_same_rows_in_another_order_split_alike(tmp_path: pathlib.Path):
    rows = choice_data.rows(0, 200)
    tasks = [make(tmp_path / name, rows[::step]) for name, step in up_and_down(tmp_path)]
    first, second = ({p.id for p in task.evaluation(0, 0, 0)} for task in tasks)
    assert first == second
    assert first != {p.id for p in tasks[0].evaluation(1, 0, 0)}


def up_and_down(tmp_path: pathlib.Path) -> list[tuple[str, int]]:
    (tmp_path / "up").mkdir()
    (tmp_path / "down").mkdir()
    return [("up", 1), ("down", -1)]


def test_counts(tmp_path: pathlib.Path):
    task = make(tmp_path, choice_data.rows(0, 300))
    assert len(task.train(0, 1, 7)) == 7
    assert len(task.evaluation(0, 3, 99)) == 3
    assert task.test(0) == []


def test_a_bad_row_is_left_out_and_told_of(tmp_path: pathlib.Path):
    task = make(tmp_path, [*choice_data.rows(0, 150), BAD])
    assert len(task.train(0, 1, 0)) + len(task.evaluation(0, 0, 0)) == 150
    assert [(flaw.line, flaw.kind) for flaw in task.flaws["train"]] == [(151, "bad answer")]


def test_too_many_bad_rows_are_refused(tmp_path: pathlib.Path):
    rows = [*choice_data.rows(0, 10), BAD]
    with pytest.raises(DataError, match="bad answer"):
        make(tmp_path, rows).train(0, 1, 0)
    assert len(make(tmp_path, rows, bad=0.2).train(0, 1, 0)) <= 10


def test_an_id_is_used_once(tmp_path: pathlib.Path):
    twice = choice_data.row(500) | {"id": "row 3"}
    task = make(tmp_path, [*choice_data.rows(0, 150), twice])
    task.train(0, 1, 0)
    (flaw,) = task.flaws["train"]
    assert (flaw.line, flaw.kind) == (151, "duplicate") and "line 4" in flaw.detail


def test_there_must_be_something_to_train_on_and_to_hold_out(tmp_path: pathlib.Path):
    with pytest.raises(DataError, match="no row is held out"):
        make(tmp_path, choice_data.rows(0, 5), dev=1e-9).evaluation(0, 0, 0)
    with pytest.raises(DataError, match="no row is left to train on"):
        make(tmp_path, choice_data.rows(0, 5), dev=1 - 1e-12).train(0, 1, 0)


@pytest.mark.parametrize(
    ("completion", "kinds"),
    [
        (" Vaults are safe. Therefore, the answer is bank (a).", []),
        (" Therefore, the answer is bank (a).", ["answer first"]),
        (" Bank is marked (CORRECT). Therefore, the answer is bank (a).", ["mark"]),
        (" As the hint says. Therefore, the answer is bank (a).", ["given"]),
        (" Jars are safe. Therefore, the answer is jar (a).", ["other words"]),
    ],
)
def test_leaks(completion: str, kinds: list[str]):
    problem = Problem("1", "Where?", "a", "", "where", ("bank", "jar"))
    assert CommonsenseQA("").leaks(problem, completion) == kinds


@pytest.mark.parametrize("task", [Ai2Arc("x"), OpenBookQA("x"), CommonsenseQA("x")])
def test_tasks_are_equal_by_their_settings(task: MultipleChoice):
    assert task == type(task)("x") != type(task)("y")
    assert task != MultipleChoice("x")
