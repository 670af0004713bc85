"""The benchmark of several samples a question (experiments/bench/samples.py) on a model of bytes."""

import json
import pathlib
import subprocess
import sys

import pytest

import bench_toys
import fakes
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


MEASURED = """
import mmap
from experiments.bench import samples

del bytearray(64 << 20)[:]
samples.forget_peak()
before = samples.peak_mib()
several = mmap.mmap(-1, 64 << 20)
several.write(bytes(64 << 20))
print(before, samples.peak_mib())
"""


def test_peak_memory_is_measured_anew():
    """In a process of its own: others' memory comes and goes."""
    line = [sys.executable, "-c", MEASURED]
    done = subprocess.run(line, cwd=fakes.ROOT, capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert before == after == 0 or after > before + 30 > 30
