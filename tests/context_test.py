import io
import pathlib
from typing import Any

import jax
import pytest
from rich.console import Console

import fakes
from star_jax import context
from star_jax.context import Context
from star_jax.settings import SettingsError

eight_devices = pytest.mark.skipif(len(jax.devices()) != 8, reason="needs eight devices")


def made(folder: pathlib.Path, changes: dict[str, Any] | None = None) -> Context:
    return context.make_context(fakes.tiny(changes), folder, Console(file=io.StringIO()))


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


def test_a_folder_of_another_run_is_refused(tmp_path: pathlib.Path):
    made(tmp_path)
    with pytest.raises(SettingsError, match="seed: 0 in the folder, 4 now"):
        made(tmp_path, {"seed": 4})


def test_rounds_have_folders_that_sort(tmp_path: pathlib.Path):
    found = made(tmp_path)
    assert [found.round_folder(n).name for n in (0, 12)] == ["0000", "0012"]
