"""The plot and the table of the two modes (experiments/arithmetic/modes.py)."""

import importlib.util
import pathlib
import sys
from typing import Any

import matplotlib.figure
import numpy as np
import pytest

from star_jax.config import validation
from star_jax.config.schema import Rationalize, Settings
from star_jax.reporting.result import RESULT, result
from star_jax.storage import files

PATH = pathlib.Path(__file__).parents[2] / "experiments/arithmetic/modes.py"
ROUNDS = Settings(rationalize=Rationalize(rehearsal=0.2))
ONLINE = Settings(mode="fused", policy_refresh_every=10)


@pytest.fixture(scope="module")
def modes():
    spec = importlib.util.spec_from_file_location("arithmetic_modes", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def a_round(number: int, accuracy: float, steps: int, tried: int) -> dict[str, Any]:
    return {
        "round": number,
        "accuracy": accuracy,
        "accuracy_interval": [accuracy - 0.01, accuracy + 0.01],
        "train_steps": steps,
        "tried": tried,
        "correct": tried // 2,
        "kept": tried,
        "wrong_step_share": {"generated": 0.012 if tried else None, "rationalized": None},
    }


@pytest.fixture
def runs(tmp_path: pathlib.Path) -> list[pathlib.Path]:
    made = {
        "one": (ROUNDS, [a_round(0, 0.02, 0, 0), a_round(1, 0.5, 100, 2500)]),
        "two": (
            ONLINE,
            [a_round(0, 0.02, 0, 0), a_round(1, 0.4, 79, 2500), a_round(2, 0.9, 79, 2500)],
        ),
    }
    for name, (chosen, rounds) in made.items():
        files.write_json(tmp_path / name / RESULT, result(rounds))
        files.write_json(tmp_path / name / "config.json", validation.to_dict(chosen))
    return [tmp_path / name for name in made]


def test_a_run_is_called_by_what_its_settings_say(modes, runs):
    frozen = validation.to_dict(Settings(mode="fused", rationalize=Rationalize(rehearsal=0.2)))
    assert [modes.load(run).name for run in runs] == ["rounds", "online, no rehearsal"]
    assert modes.name(frozen) == "fused, frozen policy"


def test_the_table_adds_up_what_was_tried_and_learned(modes, runs):
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in modes.table([modes.load(run) for run in runs]).splitlines()
    ]
    assert {len(row) for row in rows} == {9}
    name, base = "online, no rehearsal", ["–", "–", "–", "–", "2.0 (1.0–3.0)"]
    assert rows[2:] == [
        ["rounds", "0", "0", "0", *base],
        ["rounds", "1", "2,500", "100", "1,250", "2,500", "1.2", "–", "50.0 (49.0–51.0)"],
        [name, "0", "0", "0", *base],
        [name, "1", "2,500", "79", "1,250", "2,500", "1.2", "–", "40.0 (39.0–41.0)"],
        [name, "2", "5,000", "158", "1,250", "2,500", "1.2", "–", "90.0 (89.0–91.0)"],
    ]


def test_the_plot_has_a_line_a_run(modes, runs):
    axes = matplotlib.figure.Figure().subplots()
    found = [modes.load(run) for run in runs]
    modes._panel(axes, found, [run.updates for run in found], "updates")
    one, two = [np.asarray(line.get_xydata()).tolist() for line in axes.lines]
    assert one == [[0, 2], [100, 50]]
    assert two == [[0, 2], [79, 40], [158, 90]]


def test_a_folder_without_a_result_is_refused(modes, tmp_path):
    with pytest.raises(ValueError, match=r"no result\.json; give the folder of a run"):
        modes.load(tmp_path)


def test_the_command_writes_plot_and_table(modes, runs, tmp_path, monkeypatch, capsys):
    output = tmp_path / "out"
    monkeypatch.setattr(sys, "argv", ["modes.py", *map(str, runs), "--output", str(output)])
    modes.main()
    assert {path.name for path in output.iterdir()} == {"fused.png", "fused.md"}
    assert (output / "fused.md").read_text() in capsys.readouterr().out
