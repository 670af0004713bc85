"""What studies share (experiments/arms.py): command lines, table and plot, of made-up runs."""

import dataclasses
import pathlib
import sys
from typing import Any

import pytest

from experiments import arms
from experiments.arms import Arm, Study
from star_jax.grading import ledger
from star_jax.reporting.result import RESULT, result
from star_jax.storage import files, run_dir
from tests.support.samples import sample

FOLDER = pathlib.Path("runs")
STUDY = Study(
    pathlib.Path("c.py"),
    {
        "star": Arm("STaR", "#0072B2", ("--config.rounds.count=2",)),
        "label_free": Arm("label-free", "#D55E00", variant="label_free"),
    },
    "Accuracy (%)",
    ("--config.rounds.problems=9",),
)


def test_what_is_on_the_command_line_counts_over_the_arm_and_the_arm_over_the_study():
    assert STUDY.command("star", 2, FOLDER, ["--config.rounds.count=1"]) == [
        *(sys.executable, "-m", "star_jax.main", "--config=c.py", "--workdir=runs/star-seed2"),
        *("--config.seed=2", "--config.rounds.problems=9"),
        *("--config.rounds.count=2", "--config.rounds.count=1"),
    ]
    assert "--config=c.py:label_free" in STUDY.command("label_free", 0, FOLDER)


def test_an_arm_that_does_not_exist_is_refused(monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr(sys, "argv", ["study", "--arms=star,grpo"])
    with pytest.raises(SystemExit):
        arms.main(STUDY, "methods")
    assert "--arms: grpo must be of star, label_free" in capsys.readouterr().err


def test_a_run_that_fails_ends_the_study(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        sys, "argv", ["study", f"--runs={tmp_path}/new", "--seeds=1", f"--output={tmp_path}/out"]
    )
    assert arms.main(STUDY, "methods") == 1
    assert not (tmp_path / "out").exists()
    assert "c.py: no such file" in (tmp_path / "new" / "star-seed0.log").read_text()


def a_run(folder: pathlib.Path, accuracy: float, **more: Any) -> None:
    base = {
        **{"round": 0, "accuracy": 0.02, "accuracy_interval": [0.0, 0.1]},
        **{"seconds": {"total": 60}, "out_of_distribution": {}},
    }
    first = base | {"round": 1, "accuracy": accuracy, "kept": 100, "rationalized": 40}
    first |= {"wrong_step_share": {"generated": 0.1, "rationalized": None}} | more
    folder.mkdir()
    files.write_json(folder / RESULT, result([base, first]))
    drawn = [sample(str(i), correct=True, tokens=500) for i in range(10)]
    ledger.write_shard(run_dir.ledger(folder, 1), "samples", 0, drawn)


@pytest.fixture
def runs(tmp_path: pathlib.Path) -> pathlib.Path:
    """Two seeds of label-free, one of STaR, a run that is not finished, and one of no arm."""
    a_run(tmp_path / "label_free-seed1", 0.7, labels={"accuracy": 0.8})
    a_run(tmp_path / "label_free-seed0", 0.5, labels={"accuracy": 0.9})
    a_run(tmp_path / "star-seed0", 0.9)
    a_run(tmp_path / "grpo-seed0", 0.9)
    (tmp_path / "star-seed1").mkdir()
    return tmp_path


def test_runs_are_found_in_the_studys_order(runs: pathlib.Path):
    found = arms.load(runs, STUDY.arms)
    assert [(run.arm, run.seed, run.tokens) for run in found] == [
        ("star", 0, [0, 5000]),
        ("label_free", 0, [0, 5000]),
        ("label_free", 1, [0, 5000]),
    ]


def test_table_and_plot(runs: pathlib.Path, tmp_path: pathlib.Path, capsys):
    arms.write(STUDY, runs, tmp_path / "out", "methods")
    assert (tmp_path / "out" / "table.md").read_text() == (
        "|  | seeds | accuracy after each round, % | last round of each seed, % (95 %) "
        "| tokens generated, thousands | kept a round, generated + rationalized "
        "| wrong steps in kept, % | right labels, % | minutes a run |\n"
        "| :-- | --: | --: | --: | --: | --: | --: | --: | --: |\n"
        "| STaR | 1 | 2.0 → 90.0 | 90.0 (0–10) | 5 | 60 + 40 | 10.0 / – | – | 2 |\n"
        "| label-free | 2 | 2.0 → 60.0 | 50.0 (0–10), 70.0 (0–10) | 5 | 60 + 40 | 10.0 / – "
        "| 85.0 | 2 |\n"
    )
    assert (tmp_path / "out" / "table.md").read_text() in capsys.readouterr().out
    assert (tmp_path / "out" / "methods.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("by_tokens", "name", "xs"),
    [(True, "tokens generated to train on (thousands)", [0, 5]), (False, "round", [0, 1])],
)
def test_the_plots_axis(
    runs: pathlib.Path, monkeypatch: pytest.MonkeyPatch, by_tokens: bool, name: str, xs: list[float]
):
    drawn = []
    monkeypatch.setattr(arms.plots, "save", lambda figure, path: drawn.append(figure))
    study = dataclasses.replace(STUDY, by_tokens=by_tokens)
    arms.draw(study, arms.load(runs, STUDY.arms), pathlib.Path())
    (axes,) = drawn[0].axes
    assert axes.get_xlabel() == name
    star = axes.lines[0]
    assert [list(values) for values in star.get_data()] == [xs, [2.0, 90.0]]


def test_columns_of_test_and_of_classes_out_of_distribution(tmp_path: pathlib.Path):
    for seed, right in enumerate((0.25, 0.75)):
        folder = tmp_path / f"star-seed{seed}"
        a_run(folder, 0.5, out_of_distribution={"3": right, "4": 0.0})
        outcome = files.read_json(folder / RESULT)
        files.write_json(folder / RESULT, outcome | {"test": {"accuracy": right, "evaluated": 4}})
    header, _, row = arms.table(STUDY, arms.load(tmp_path, STUDY.arms)).splitlines()
    cells = dict(zip(header.split(" | "), row.split(" | "), strict=True))
    assert cells["test, % (95 %)"] == "50.0 (21.5–78.5)"  # Wilson's interval of 4 of 8
    assert cells["out of distribution, last round, %"] == "3: 50.0, 4: 0.0"


def test_a_folder_without_runs_is_refused(tmp_path: pathlib.Path):
    with pytest.raises(ValueError, match="no <arm>-seed<k>/result.json with an arm of star, label"):
        arms.load(tmp_path, STUDY.arms)
