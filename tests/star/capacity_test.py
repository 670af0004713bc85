"""In which shapes a run samples."""

import pathlib
from typing import Any

import pytest

import toys
from star_jax.inference import scheduler
from star_jax.models import memory
from star_jax.star import capacity
from star_jax.storage import files
from tests.star.build_test import made


@pytest.mark.parametrize("method", ["rationale", "direct"])
@pytest.mark.parametrize("max_digits", [1, 3, 5])
@pytest.mark.parametrize("held_out", [1, 20])
def test_every_problem_fits_a_shape_with_its_hint(
    tmp_path: pathlib.Path, method: str, max_digits: int, held_out: int
):
    # Few held-out problems may all have short hints: those of training must fit all the same.
    lengths = {"model.context": 1024, "train.length": 300, "pretrain.length": 300}
    digits = {"task.max_digits": max_digits, "task.ood_digits": 7, "rounds.problems": 200}
    found = made(tmp_path, lengths | digits | {"method": method, "evaluate.problems": held_out})
    for problems in (found.problems.held_out, found.problems.train(1), found.problems.train(2)):
        rows = [
            scheduler.Request(
                number,
                found.prompter.prompt_ids(problem, hint=True),
                found.max_new_tokens(problem),
            )
            for number, problem in enumerate(problems)
        ]
        chunks = scheduler.plan(rows, found.buckets)
        assert sum(len(chunk.requests) for chunk in chunks) == len(problems)
    assert len(found.buckets) == 2
    assert found.buckets[0] < found.buckets[1], "what is trained on runs in the cheaper shape"


def test_without_problems_out_of_distribution_there_is_one_shape(tmp_path: pathlib.Path):
    (shape,) = made(tmp_path).buckets
    assert shape.rows == 16


@pytest.mark.parametrize(("problems", "rows"), [(3, 32), (40, 48), (500, 128)])
def test_there_are_no_more_rows_than_questions(tmp_path: pathlib.Path, problems: int, rows: int):
    (shape,) = made(tmp_path, {"rounds.problems": problems, "sampler.rows": 128}).buckets
    assert shape.rows == rows, "19 are held out"


def test_a_budget_of_ones_own_is_for_all(tmp_path: pathlib.Path):
    found = made(tmp_path, {"sampler.max_new_tokens": 20, "task.ood_digits": 3})
    assert [shape.max_new_tokens for shape in found.buckets] == [20, 20]
    assert {found.max_new_tokens(problem) for problem in found.problems.held_out} == {20}


@toys.eight_devices
@pytest.mark.parametrize("unseen", [1, 3, 17])
def test_few_problems_out_of_distribution_still_split_over_the_devices(
    tmp_path: pathlib.Path, unseen: int
):
    found = made(tmp_path, {"task.ood_digits": 3, "evaluate.ood_problems": unseen})
    assert found.buckets[1].rows == 16


class TestRows:
    """How many, where the settings leave it open."""

    @pytest.mark.parametrize(
        ("fitting", "problems", "rows"),
        [
            (1000, 600, 80),  # each slot has eight questions, or seven
            (1000, 5, 16),
            (70, 6000, 64),
            (3, 6000, 16),  # the least that there can be
        ],
    )
    def test_are_as_many_as_fit_and_stay_busy(
        self, tmp_path: pathlib.Path, monkeypatch, fitting: int, problems: int, rows: int
    ):
        monkeypatch.setattr(memory, "rows_that_fit", lambda *args, **sizes: fitting)
        (shape,) = made(tmp_path, {"sampler.rows": 0, "rounds.problems": problems}).buckets
        assert shape.rows == rows

    def test_stay_what_they_were_whatever_memory_is_free(self, tmp_path: pathlib.Path, monkeypatch):
        changes: dict[str, Any] = {"sampler.rows": 0, "rounds.problems": 1000}
        for fitting in (48, 16, 1000):
            monkeypatch.setattr(memory, "rows_that_fit", lambda *args, n=fitting, **sizes: n)
            assert made(tmp_path, changes).buckets[0].rows == 48
        assert files.read_json(tmp_path / capacity.ROWS) == {"rows": 48}

    def test_are_not_written_down_where_the_settings_say_them(self, tmp_path: pathlib.Path):
        made(tmp_path)
        assert not (tmp_path / capacity.ROWS).exists()
