"""star_jax/tasks/dataset.py."""

import json
import pathlib
from collections.abc import Sequence
from typing import ClassVar

import pytest

from star_jax.tasks.dataset import DataSet
from star_jax.tasks.rows import DataError, Flaw, Row
from star_jax.tasks.task import Problem


class Capitals(DataSet):
    """The least that a task of a data set says itself about its rows."""

    name: ClassVar[str] = "capitals"

    def fields(self) -> Sequence[str]:
        return ("country", "capital")

    def problem(self, split: str, row: Row) -> Problem | Flaw:
        country, capital = row.values["country"], row.values["capital"]
        if not capital:
            return Flaw(row.line, "no answer", 'no "capital"')
        return Problem(f"{split} {row.line}", country, capital, "", "all")

    def worked(self) -> Sequence[Problem]:
        return self.all_of_train[:2]


class Unshown(Capitals):
    def worked(self) -> Sequence[Problem]:
        return ()


def write(folder: pathlib.Path, count: int = 40) -> str:
    """`count` rows of training, and ten of a test set, two of which are training's first two."""
    rows = [{"country": f"country {i}", "capital": f"capital {i}"} for i in range(count + 8)]
    for split, chosen in {"train": rows[:count], "test": rows[count:] + rows[:2]}.items():
        (folder / f"{split}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in chosen))
    return str(folder)


def questions(problems: Sequence[Problem]) -> set[str]:
    return {problem.question for problem in problems}


def test_each_row_has_one_use(tmp_path: pathlib.Path):
    task = Capitals(write(tmp_path), dev=0.3)
    uses = [task.train(3, 1, 0), task.evaluation(3, 0, 0), task.few_shot(3, 9), task.test(0)]
    assert [len(use) for use in uses[2:]] == [2, 8]  # what is shown is not tested on either
    assert len(uses[0]) + len(uses[1]) == 38 and len(uses[1]) > 0
    assert len(set.union(*map(questions, uses))) == sum(map(len, uses)) == 48


def test_a_round_orders_the_same_problems_anew(tmp_path: pathlib.Path):
    task = Capitals(write(tmp_path))
    first, second = task.train(0, 1, 16), task.train(0, 2, 16)
    assert first != second and questions(first) == questions(second)
    assert task.train(0, 1, 16) == first == Capitals(task.data).train(0, 1, 16)


def test_what_is_in_the_test_set_is_neither_trained_on_nor_held_out(tmp_path: pathlib.Path):
    folder = write(tmp_path)
    rows = (tmp_path / "train.jsonl").read_text().splitlines()
    (tmp_path / "test.jsonl").write_text("".join(f"{row}\n" for row in rows[5:9]))
    task = Capitals(folder, dev=0.3)
    used = questions(task.train(0, 1, 0)) | questions(task.evaluation(0, 0, 0))
    assert len(used) == 34 and used.isdisjoint(questions(task.test(0)))
    assert [flaw.kind for flaw in task.flaws["train"]] == ["to be tested on"] * 4
    (tmp_path / "test.jsonl").write_text("".join(f"{row}\n" for row in rows))
    with pytest.raises(DataError, match=r"no row is left to train on.*38 rows are left out"):
        Capitals(folder).train(0, 1, 0)


def test_nothing_is_read_before_it_is_asked_for(tmp_path: pathlib.Path):
    task = Capitals(str(tmp_path / "nowhere"))
    assert task.flaws == {} and task.in_distribution("all") and task.longest("all") == ""
    with pytest.raises(DataError, match="nowhere"):
        task.train(0, 1, 0)


def test_equations_of_a_rationale_are_checked(tmp_path: pathlib.Path):
    task = Capitals(write(tmp_path))
    problem = task.test(1)[0]
    for text, wrong, steps in (
        ("It has 2 + 3 = 5 letters.", False, ("2+3=5",)),
        ("It has 2 + 3 = 6 letters.", True, ("2+3=6",)),
        ("It is Paris.", None, None),
    ):
        assert (task.wrong_step(problem, text), task.steps(problem, text)) == (wrong, steps)


def test_rows_left_out_are_told_of_by_split(tmp_path: pathlib.Path):
    folder = write(tmp_path)
    with (tmp_path / "train.jsonl").open("a") as file:
        file.write('{"country": "Atlantis", "capital": ""}\n')
    task = Capitals(folder, bad=0.05)
    task.train(0, 1, 0)
    assert task.flaws == {"train": [Flaw(41, "no answer", 'no "capital"')], "test": []}
    task.test(0)
    assert task.flaws["test"] == []
    with pytest.raises(DataError, match=r"1 of 41 rows cannot be used \(1 no answer\)"):
        Capitals(folder, bad=0.01).train(0, 1, 0)


@pytest.mark.parametrize(("dev", "method"), [(1.0, "train"), (0.0, "evaluation")])
def test_a_share_that_leaves_nothing_is_named(tmp_path: pathlib.Path, dev: float, method: str):
    task = Capitals(write(tmp_path), dev=dev)
    with pytest.raises(DataError, match=r"no row is .*config\.task\.dev"):
        getattr(task, method)(0, 1, 0)


def test_no_worked_examples_is_an_error_only_where_some_are_asked_for(tmp_path: pathlib.Path):
    task = Unshown(write(tmp_path))
    assert task.few_shot(0, 0) == [] and len(task.test(0)) == 10
    with pytest.raises(DataError, match=r"no worked examples .*config\.few_shot\.examples=0"):
        task.few_shot(0, 1)
