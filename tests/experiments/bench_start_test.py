"""The benchmark of starts (experiments/bench/start.py) on a model of bytes."""

import json
import pathlib

import pytest

import bench_toys
from experiments.bench import start


def test_a_warm_start_compiles_nothing(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]):
    found = tmp_path / "found.json"
    flags = [f"--model={bench_toys.model(tmp_path)}", f"--data={bench_toys.data(tmp_path)}"]
    start.main([*flags, "--rows=8", "--batch=8x1024", "--repeats=1", f"--json={found}"])
    cold, warm = (json.loads(found.read_text())[name] for name in ("cold", "warm"))
    assert cold["compiled"] == [11] and warm["compiled"] == [0]
    assert 0 < warm["seconds"][0] and 0 < cold["seconds"][0]
    assert "s to the first token" in capsys.readouterr().out
