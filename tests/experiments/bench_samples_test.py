"""The benchmark of several samples a question (experiments/bench/samples.py) on a model of bytes."""

import json
import pathlib

import pytest

import bench_toys
from experiments.bench import samples, workload


def test_the_command_shows_a_table_and_writes_a_file(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(workload, "BUDGET", 6)
    found = tmp_path / "found.json"
    flags = ["--questions=3", "--samples=4", "--repeats=1", "--rows=4", "--top-k=3"]
    flags += [f"--model={bench_toys.model(tmp_path)}", f"--data={bench_toys.data(tmp_path)}"]
    samples.main([*flags, f"--json={found}"])
    written = json.loads(found.read_text())
    figures = written["3 questions x 4"]
    assert figures["ratio"] == pytest.approx(figures["ours"] / figures["peer"])
    assert written["differing"] == 0
    together, apart = written["more"].values()
    assert apart["prefilled"] == 4 * together["prefilled"] > 0
    assert 0 < together["occupied"] <= 1 and 0 < apart["occupied"] <= 1
    assert "0 of 12 texts differ" in capsys.readouterr().out


def test_peak_memory_is_measured_anew():
    samples.forget_peak()
    before = samples.peak_mib()
    assert before >= 0
    several = bytearray(64 << 20)
    several[::4096] = b"1" * len(several[::4096])
    assert before == 0 or samples.peak_mib() > before + 30
