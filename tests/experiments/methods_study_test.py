"""The methods' study: its command lines, its table and its plot, of made-up runs."""

import pathlib
import sys

import pytest

from experiments.methods import plot, study
from star_jax.config import validation
from star_jax.grading import ledger
from star_jax.reporting.result import RESULT, result
from star_jax.storage import files, run_dir
from tests.config.configs_test import load
from tests.support.samples import sample

FOLDER = pathlib.Path("runs")


@pytest.mark.parametrize("arm", study.ARMS)
def test_every_arm_has_a_title_and_writes_as_many_rationales(arm: str):
    assert arm in plot.TITLES
    variant, own = study.ARMS[arm]
    config = load(study.CONFIG).get_config(variant)
    for flag in own:
        path, _, value = flag.removeprefix("--config.").partition("=")
        section, _, name = path.partition(".")
        config[section][name] = validation.SETTINGS[path].metadata["allowed"].read(value)
    settings = validation.from_config(config)
    tries = 2 if settings.rationalize.enabled else 1
    assert tries * settings.sampler.samples * settings.rounds.problems == 5000
    assert settings.train == validation.from_config(load(study.CONFIG).get_config()).train


def test_commands():
    line = study.arm_command("rft_no_dedupe", 2, FOLDER, ["--config.rounds.count=1"])
    assert line == [
        *(sys.executable, "-m", "star_jax.main", f"--config={study.CONFIG}:rft"),
        *("--workdir=runs/rft_no_dedupe-seed2", "--config.seed=2"),
        *("--config.filter.dedupe=none", "--config.rounds.count=1"),
    ]
    train, rank = study.verifier_commands(1, FOLDER)
    assert "--run=runs/v_star-seed1" in train and "--workdir=runs/verifier-seed1" in train
    assert "--verifier=runs/verifier-seed1" in rank and "--model=runs/v_star-seed1" in rank


def test_an_arm_that_does_not_exist_is_refused(monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr(sys, "argv", ["study.py", "--arms=star,grpo"])
    with pytest.raises(SystemExit):
        study.main()
    assert "--arms: grpo must be of star, no_rationalization, rest_em" in capsys.readouterr().err


@pytest.fixture
def runs(tmp_path: pathlib.Path) -> pathlib.Path:
    """Two seeds of label-free, one of STaR, and a run that is not finished."""
    for name, accuracy in (
        ("label_free-seed0", 0.5),
        ("label_free-seed1", 0.7),
        ("star-seed0", 0.9),
    ):
        folder = tmp_path / name
        shares = {"generated": 0.1, "rationalized": None}
        base = {
            "round": 0,
            "accuracy": 0.02,
            "accuracy_interval": [0.0, 0.1],
            "seconds": {"total": 60},
        }
        first = base | {"round": 1, "accuracy": accuracy, "kept": 100, "wrong_step_share": shares}
        if "label" in name:
            first |= {"labels": {"accuracy": 0.8}}
        folder.mkdir()
        files.write_json(folder / RESULT, result([base, first]))
        drawn = [sample(str(i), correct=True, tokens=500) for i in range(10)]
        ledger.write_shard(run_dir.ledger(folder, 1), "samples", 0, drawn)
    (tmp_path / "rft-seed0").mkdir()
    return tmp_path


def test_table_and_plot(runs: pathlib.Path, tmp_path: pathlib.Path):
    found = plot.load(runs)
    assert [(run.arm, run.seed, run.tokens) for run in found] == [
        ("star", 0, [0, 5000]),
        ("label_free", 0, [0, 5000]),
        ("label_free", 1, [0, 5000]),
    ]
    rows = plot.table(found).splitlines()
    assert rows[2].startswith(
        "| STaR | 1 | 2.0 → 90.0 | 90.0 (0–10) | 5 | 100 | 10.0 / – | – | 2 |"
    )
    assert rows[3].startswith(
        "| label-free | 2 | 2.0 → 60.0 | 50.0 (0–10), 70.0 (0–10) | 5 | 100 | 10.0 / – | 80.0 | 2 |"
    )
    plot.draw(found, tmp_path / "methods.png")
    assert (tmp_path / "methods.png").read_bytes().startswith(b"\x89PNG")


def test_a_folder_without_runs_is_refused(tmp_path: pathlib.Path):
    with pytest.raises(ValueError, match="no <arm>-seed<k>/result.json with an arm of star"):
        plot.load(tmp_path)
