"""The arithmetic study's plots and table (experiments/arithmetic/plot.py)."""

import pathlib
import sys

import matplotlib.figure
import numpy as np
import pytest

from experiments.arithmetic import plot
from star_jax.reporting.result import RESULT, result
from star_jax.storage import files


def a_round(number: int, accuracy: float, **shares: float | None) -> dict:
    return {
        "round": number,
        "accuracy": accuracy,
        "accuracy_interval": [accuracy - 0.01, accuracy + 0.01],
        "accuracy_by_class": {str(digits): accuracy for digits in range(1, 6)},
        "wrong_step_share": shares,
        "seconds": {"total": 90.0},
    }


def write_run(folder: pathlib.Path, name: str, accuracies: list[float], **shares: float | None):
    rounds = [
        a_round(n, accuracy, **(shares if n else {})) for n, accuracy in enumerate(accuracies)
    ]
    files.write_json(folder / name / RESULT, result(rounds))


@pytest.fixture
def study(tmp_path) -> pathlib.Path:
    write_run(tmp_path, "rationalize-seed1", [0.03, 0.5, 0.9], generated=0.2, rationalized=0.8)
    write_run(tmp_path, "rationalize-seed0", [0.03, 0.91], generated=0.1, rationalized=0.7)
    write_run(tmp_path, "direct-seed0", [0.03, 0.7], generated=None, rationalized=None)
    (tmp_path / "no_rationalize-seed0").mkdir()  # begun, not finished
    write_run(tmp_path, "another-seed0", [0.1])
    return tmp_path


def test_loads_the_finished_runs_in_order(study):
    runs = [(run.arm, run.seed) for run in plot.load(study, plot.ARMS)]
    assert runs == [("rationalize", 0), ("rationalize", 1), ("direct", 0)]


def test_a_folder_without_runs_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no <arm>-seed<k>/result.json"):
        plot.load(tmp_path, plot.ARMS)


def test_the_table_says_what_the_runs_did(study):
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in plot.table(plot.load(study, plot.ARMS)).splitlines()
    ]
    assert {len(row) for row in rows} == {8}
    rationalize, direct = "STaR with rationalization", "direct answers, no scratchpad"
    assert rows[2:] == [
        [rationalize, "0", "1", "91.0 (90.0–92.0)", "1", "10.0 → 10.0", "70.0 → 70.0", "3"],
        [rationalize, "1", "2", "90.0 (89.0–91.0)", "2", "20.0 → 20.0", "80.0 → 80.0", "4"],
        [direct, "0", "1", "70.0 (69.0–71.0)", "–", "–", "–", "3"],
    ]


def test_the_mean_is_over_the_rounds_that_every_seed_has(study):
    axes = matplotlib.figure.Figure().subplots()
    seeds = plot.by_arm(plot.load(study, plot.ARMS))["rationalize"]
    end = plot.draw(axes, seeds, lambda record: record["accuracy"], "black")
    assert end == (1, pytest.approx((91 + 50) / 2))
    assert [np.size(line.get_xdata()) for line in axes.lines] == [2, 3, 2]


def test_the_command_writes_plots_and_table(study, tmp_path, monkeypatch, capsys):
    output = tmp_path / "out"
    monkeypatch.setattr(sys, "argv", ["plot.py", str(study), "--output", str(output)])
    plot.main()
    names = {"digits.png", "overall.png", "wrong_steps.png", "table.md"}
    assert {path.name for path in output.iterdir()} == names
    assert (output / "table.md").read_text() in capsys.readouterr().out


def test_a_study_of_direct_answers_alone_has_no_steps_to_plot(study, tmp_path):
    runs = plot.by_arm(plot.load(study, plot.ARMS))["direct"]
    plot.plot_wrong_steps(runs, tmp_path / "wrong_steps.png")
    assert (tmp_path / "wrong_steps.png").stat().st_size > 1000
