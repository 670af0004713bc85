"""One run on one device and on eight: the mesh changes the speed, not what is learned."""

import pathlib
import subprocess

import numpy as np
import orbax.checkpoint as ocp
import pytest

import fakes
from star_jax.grading import ledger
from star_jax.reporting.result import RESULT, deterministic
from star_jax.storage import files

# Training blows rounding up, step by step: enough steps to keep something, and no more.
SHORT = (
    "--config.pretrain.steps=100",
    "--config.train.first_steps=5",
    "--config.rounds.count=1",
)
MESHES = {
    "one": (1, ()),
    "data": (8, ()),
    "all axes": (8, ("--config.mesh.data=2", "--config.mesh.fsdp=2", "--config.mesh.tensor=2")),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pathlib.Path]:
    home = tmp_path_factory.mktemp("devices")
    for name, (devices, mesh) in MESHES.items():
        done = subprocess.run(
            fakes.command(home / name, *SHORT, *mesh),
            cwd=fakes.ROOT,
            env=fakes.environment(home / "cache", devices),
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        assert f"on {devices} device(s)" in done.stdout
    return {name: home / name for name in MESHES}


def weights(folder: pathlib.Path, number: int) -> dict[str, np.ndarray]:
    manager = ocp.CheckpointManager(
        folder / "checkpoints" / "rounds", item_handlers=ocp.PyTreeCheckpointHandler()
    )
    names = manager.item_metadata(number).tree
    as_numpy = dict.fromkeys(names, ocp.RestoreArgs(restore_type=np.ndarray))
    return dict(manager.restore(number, args=ocp.args.PyTreeRestore(restore_args=as_numpy)))


@pytest.mark.parametrize("name", ["data", "all axes"])
@pytest.mark.parametrize("number", [0, 1])
def test_weights_agree_to_rounding(runs: dict[str, pathlib.Path], name: str, number: int):
    one, eight = weights(runs["one"], number), weights(runs[name], number)
    assert one.keys() == eight.keys()
    for key in one:
        distance = np.linalg.norm(one[key] - eight[key]) / np.linalg.norm(one[key])
        assert distance < 1e-4, f"{key}: {distance}"


@pytest.mark.parametrize("name", ["data", "all axes"])
def test_the_same_is_generated_and_kept(runs: dict[str, pathlib.Path], name: str):
    one, eight = (runs[n] / "rounds" / "0001" for n in ("one", name))
    kept = ledger.read_kept(one)
    assert kept and kept == ledger.read_kept(eight)
    assert ledger.read_shards(one, "samples") == ledger.read_shards(eight, "samples")


@pytest.mark.parametrize("name", ["data", "all axes"])
def test_the_result_is_the_same(runs: dict[str, pathlib.Path], name: str):
    one, eight = (files.read_json(runs[n] / RESULT) for n in ("one", name))
    for record in (*one["rounds"], *eight["rounds"]):
        record["train_loss"] = record["train_loss"] and round(record["train_loss"], 4)
    assert deterministic(one) == deterministic(eight)
