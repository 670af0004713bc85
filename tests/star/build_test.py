import io
import pathlib
from typing import Any

import jax
import pytest
from rich.console import Console

import fakes
from star_jax.config.validation import SettingsError
from star_jax.star import build
from star_jax.star.build import Run

eight_devices = pytest.mark.skipif(len(jax.devices()) != 8, reason="needs eight devices")


def made(folder: pathlib.Path, changes: dict[str, Any] | None = None) -> Run:
    return build.make_run(fakes.tiny(changes), folder, Console(file=io.StringIO()))


def test_other_data_than_the_run_began_with_are_refused(tmp_path: pathlib.Path):
    folder, chosen = tmp_path / "run", QUESTIONS | questions(tmp_path)
    chosen |= {"pretrain.steps": 0}
    made(folder, chosen)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    made(folder, chosen)
    rows = tmp_path / "rows.jsonl"
    rows.write_text(rows.read_text().replace('"answer": "8"', '"answer": "9"'))
    with pytest.raises(SettingsError, match=r"data\.json: .*problems are not those that the run"):
        made(folder, chosen)
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


QUESTIONS = {"task.module": "own.py", "task.data": "rows.jsonl", "sampler.max_new_tokens": 16}


def questions(folder: pathlib.Path) -> dict[str, Any]:
    """Settings of a task of one's own; it has no corpus."""
    module, rows = folder / "own.py", folder / "rows.jsonl"
    module.write_text(
        "from star_jax.tasks.jsonl import Jsonl\n\n\nclass Questions(Jsonl):\n    name = 'Questions'\n"
    )
    rows.write_text(
        "".join(f'{{"question": "{n} + 1?", "answer": "{n + 1}"}}\n' for n in range(60))
    )
    return {"task.module": str(module), "task.data": str(rows)}


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
        (
            {"pretrain.length": 64, "pretrain.shots": 3},
            "config.pretrain.length = 64: must be at least 105, to hold a document of the corpus "
            "(pretrain.shots = 3)",
        ),
        (
            {**QUESTIONS, "pretrain.steps": 20},
            "config.model.source = '': must name a pretrained model: task Questions has no corpus",
        ),
        (
            {**QUESTIONS, "sampler.max_new_tokens": 128},
            "config.sampler.max_new_tokens = 128: leaves no room for a question, as "
            "config.train.length is 128; lower the one or raise the other",
        ),
        (
            {**QUESTIONS, "sampler.max_new_tokens": 250, "rounds.count": 0},
            "config.sampler.max_new_tokens = 250: leaves no room for a question, as the model's "
            "context, few-shot apart, is 256; lower",
        ),
    ],
)
def test_what_cannot_run_is_refused_and_leaves_no_folder(
    tmp_path: pathlib.Path, changes: dict[str, Any], says: str
):
    if "task.module" in changes:
        changes = changes | questions(tmp_path)
    with pytest.raises(SettingsError) as refused:
        made(tmp_path / "run", changes)
    assert says in str(refused.value)
    assert not (tmp_path / "run").exists(), "the right settings would be refused there"


@eight_devices
@pytest.mark.parametrize(
    "changes",
    [
        {"rounds.count": 0, "train.batch_size": 4, "train.length": 32},
        {"rounds.count": 0, "pretrain.steps": 0, "pretrain.batch_size": 4, "pretrain.length": 16},
        {"mode": "fused", "train.batch_size": 4, "train.length": 32},
    ],
)
def test_what_a_run_does_not_use_is_not_held_against_it(
    tmp_path: pathlib.Path, changes: dict[str, Any]
):
    changes |= {"pretrain.warmup_steps": 0}
    assert made(tmp_path, changes).folder.exists()


def test_a_folder_of_another_run_is_refused(tmp_path: pathlib.Path):
    made(tmp_path)
    with pytest.raises(SettingsError, match="seed: 0 in the folder, 4 now"):
        made(tmp_path, {"seed": 4})
