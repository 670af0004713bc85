"""The growth benchmark (experiments/bench/scaling.py), and one real point of it."""

import dataclasses
import json
import pathlib

import pytest

from experiments.bench import scaling, scaling_point
from experiments.bench.scaling_point import Measured, Point


def test_a_point_is_sampled(capsys: pytest.CaptureFixture[str]):
    scaling_point.main(
        ["--questions=5", "--rows=2", "--prompt=16", "--tokens=4", "--width=64", "--layers=1"]
    )
    found = Measured(**json.loads(capsys.readouterr().out.splitlines()[-1]))
    assert 0 < found.seconds < found.compile_seconds and found.peak_mib > 50


def test_exponents_are_of_the_upper_half():
    assert scaling.exponent([1, 2, 4, 8], [7, 2, 8, 32]) == pytest.approx(2)


def test_sizes_are_measured_one_at_a_time(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    asked: list[Point] = []

    def measure(point: Point, repeats: int) -> Measured:
        assert repeats == 2
        asked.append(point)
        return Measured(point.width**2 * point.questions / point.rows, 1.0, 10.0 * point.rows)

    monkeypatch.setattr(scaling, "measure", measure)
    files = {name: tmp_path / f"found.{name}" for name in ("json", "png")}
    scaling.main(["--repeats=2", f"--json={files['json']}", f"--plot={files['png']}"])
    usual = dataclasses.asdict(Point())
    for point in asked:
        changed = {name for name, size in vars(point).items() if size != usual[name]}
        assert len(changed - {"questions"}) <= 1
    found = json.loads(files["json"].read_text())
    exponents = {name: one["time_exponent"] for name, one in found.items()}
    assert exponents == pytest.approx(
        {"questions": 1, "rows": -1, "prompt": 0, "tokens": 0, "width": 2, "layers": 0}
    )
    assert found["rows"]["memory_exponent"] == pytest.approx(1)
    assert files["png"].read_bytes().startswith(b"\x89PNG")
    assert "memory^" in capsys.readouterr().out
