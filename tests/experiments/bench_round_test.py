"""The benchmark of a whole round (experiments/bench/round.py) on a model of bytes."""

import json
import pathlib

import pytest

import bench_toys
from experiments.bench import peer_sampling
from experiments.bench import round as bench
from experiments.bench.peer_sampling import Setting


def test_both_sides_do_a_round(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(peer_sampling, "SETTINGS", (Setting(batch=4),))
    found = tmp_path / "found.json"
    flags = [f"--model={bench_toys.model(tmp_path)}", f"--data={bench_toys.data(tmp_path)}"]
    flags += ["--questions=6", "--held_out=3", "--updates=2", "--batch=8x1024", "--rows=8"]
    bench.main([*flags, "--trial=2", f"--json={found}"])
    written = json.loads(found.read_text())
    one = written["round"]
    assert one["ours"] > 0 and one["peer"] > 0 and one["ratio"] == one["ours"] / one["peer"]
    sampled, trained = one["peer_setting"].split("; ")
    assert sampled == "static cache, batch 4, float32" and trained in ("at once", "a row at a time")
    assert len(written["compile_seconds"]) == 1
    assert "static cache" in capsys.readouterr().out
