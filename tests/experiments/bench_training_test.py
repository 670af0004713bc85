"""The training benchmark (experiments/bench/training.py), with processes that are made up."""

import json
import pathlib
import subprocess

import pytest

import bench_toys
from experiments.bench import peer_training, training
from experiments.bench.peer_training import Trained


def test_sides_that_run_are_compared(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    def run(module: str, *arguments: str) -> Trained:
        assert peer_training.load_batch(pathlib.Path(arguments[1])).tokens.shape == (2, 1024)
        if "our_training" in module:
            assert arguments[2:] == ("--steps=3", "--micro_batch=2", "--dtype=bfloat16")
            return Trained(100, [1.0], [0.5, 0.5], 10.0)
        assert "--dtype=float32" in arguments
        if "--micro_batch=0" in arguments:
            raise subprocess.CalledProcessError(137, module)  # no memory
        slow = 4.0 if "--checkpointing" in arguments else 2.0
        return Trained(100, [1.0], [slow], 30.0 - slow)

    monkeypatch.setattr(peer_training, "run", run)
    found = tmp_path / "found.json"
    flags = [f"--model={bench_toys.model(tmp_path)}", f"--data={bench_toys.data(tmp_path)}"]
    flags += [
        "--batches=2x1024",
        "--micro_batch=2",
        "--dtype=bfloat16",
        "--dtypes=float32",
        f"--json={found}",
    ]
    training.main(flags)
    written = json.loads(found.read_text())
    one = written["2x1024"]
    assert (one["ours"], one["peer"], one["ratio"]) == (200, 50, 4)
    assert one["peer_setting"] == "float32, micro-batch 1" and one["roofline"] > 0
    assert list(one["runs"]) == [
        "ours",
        one["peer_setting"],
        "float32, micro-batch 1, checkpointing",
    ]
    assert written["peak_mib"]["2x1024"]["ours"] == 10
    assert "ours: at most 10 MiB" in capsys.readouterr().out
