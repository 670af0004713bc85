import io
import pathlib
from typing import Any

import jax
import pytest
from rich.console import Console

import fakes
from star_jax import context
from star_jax.context import Context
from star_jax.sampler import engine
from star_jax.settings import SettingsError

eight_devices = pytest.mark.skipif(len(jax.devices()) != 8, reason="needs eight devices")


def made(folder: pathlib.Path, changes: dict[str, Any] | None = None) -> Context:
    return context.make_context(fakes.tiny(changes), folder, Console(file=io.StringIO()))


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
            engine.Row(
                number,
                found.prompter.row(problem, hint=True),
                found.budget(problem),
            )
            for number, problem in enumerate(problems)
        ]
        chunks = engine.plan(rows, found.shapes)
        assert sum(len(chunk.rows) for chunk in chunks) == len(problems)
    assert len(found.shapes) == 2
    assert found.shapes[0] < found.shapes[1], "what is trained on runs in the cheaper shape"


def test_without_problems_out_of_distribution_there_is_one_shape(tmp_path: pathlib.Path):
    (shape,) = made(tmp_path).shapes
    assert shape.rows == 16


@pytest.mark.parametrize(("problems", "rows"), [(3, 32), (40, 48), (500, 128)])
def test_there_are_no_more_rows_than_questions(tmp_path: pathlib.Path, problems: int, rows: int):
    (shape,) = made(tmp_path, {"rounds.problems": problems, "sampler.rows": 128}).shapes
    assert shape.rows == rows, "19 are held out"


def test_a_budget_of_ones_own_is_for_all(tmp_path: pathlib.Path):
    found = made(tmp_path, {"sampler.max_new_tokens": 20, "task.ood_digits": 3})
    assert [shape.budget for shape in found.shapes] == [20, 20]
    assert {found.budget(problem) for problem in found.problems.held_out} == {20}


@pytest.mark.parametrize(
    ("changes", "rounds"),
    [
        ({}, []),
        ({"few_shot.examples": 2}, [0]),
        ({"few_shot.examples": 2, "few_shot.rounds": 2}, [0, 1]),
        ({"few_shot.examples": 2, "few_shot.rounds": 0}, []),
    ],
)
def test_examples_are_shown_in_the_first_rounds(
    tmp_path: pathlib.Path, changes: dict[str, Any], rounds: list[int]
):
    found = made(tmp_path, changes | {"model.context": 1024})
    assert [n for n in range(4) if found.shows_examples(n)] == rounds
    shown = found.tokenizer.decode(found.prompter.few_shot(False))
    hinted = found.tokenizer.decode(found.prompter.few_shot(True))
    count = 2 if rounds else 0
    assert shown.count("Target:\n") == count and hinted.count("Target: ") == count
    assert shown.count("</scratch>\n") == hinted.count("</scratch>\n") == count


@eight_devices
@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"sampler.rows": 12, "train.batch_size": 4},
            "config.train.batch_size = 4: must be a multiple of the 8 devices that share a batch "
            "(mesh.data x mesh.fsdp)\n"
            "config.sampler.rows = 12: must be a multiple of the 8 devices",
        ),
        ({"mesh.data": 3}, "config.mesh is data=3 fsdp=1 tensor=1, which does not multiply to"),
        ({"train.length": 32}, "config.train.length = 32: must be at least 40, to hold a question"),
        (
            {
                "model.context": 64,
                "train.length": 64,
                "pretrain.length": 64,
                "few_shot.examples": 1,
            },
            "config.model.context = 64: must be at",
        ),
    ],
)
def test_what_cannot_run_is_refused_and_leaves_no_folder(
    tmp_path: pathlib.Path, changes: dict[str, Any], says: str
):
    with pytest.raises(SettingsError) as refused:
        made(tmp_path / "run", changes)
    assert says in str(refused.value)
    assert not (tmp_path / "run").exists(), "the right settings would be refused there"


@eight_devices
@pytest.mark.parametrize("unseen", [1, 3, 17])
def test_few_problems_out_of_distribution_still_split_over_the_devices(
    tmp_path: pathlib.Path, unseen: int
):
    found = made(tmp_path, {"task.ood_digits": 3, "evaluate.ood_problems": unseen})
    assert found.shapes[1].rows == 16


def test_a_folder_of_another_run_is_refused(tmp_path: pathlib.Path):
    made(tmp_path)
    with pytest.raises(SettingsError, match="seed: 0 in the folder, 4 now"):
        made(tmp_path, {"seed": 4})


def test_rounds_have_folders_that_sort(tmp_path: pathlib.Path):
    found = made(tmp_path)
    assert [found.round_folder(n).name for n in (0, 12)] == ["0000", "0012"]
