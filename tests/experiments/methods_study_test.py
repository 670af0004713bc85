"""The methods' study: its arms, its command lines, and the table of the verifiers."""

import pathlib

import pytest

from experiments.methods import study
from star_jax.config import validation
from star_jax.storage import files
from studies import settings_of
from tests.config.configs_test import load


@pytest.mark.parametrize("arm", study.STUDY.arms)
def test_every_arm_writes_as_many_rationales(arm: str):
    settings = settings_of(study.STUDY, arm)
    tries = 2 if settings.rationalize.enabled else 1
    assert tries * settings.sampler.samples * settings.rounds.problems == 5000
    assert settings.train == validation.from_config(load(study.CONFIG).get_config()).train


def test_commands_of_the_verifier():
    train, rank = study.verifier_commands(1, pathlib.Path("runs"))
    assert "--run=runs/v_star-seed1" in train and "--workdir=runs/verifier-seed1" in train
    assert "--verifier=runs/verifier-seed1" in rank and "--model=runs/v_star-seed1" in rank


def test_the_table_of_the_verifiers(tmp_path: pathlib.Path):
    with pytest.raises(ValueError, match="no best_of_k-seed<k>/evaluation.json"):
        study.best_of_k(tmp_path)
    score = {"accuracy": 0.5, "interval": [0.4, 0.6]}
    (tmp_path / "best_of_k-seed2").mkdir()
    files.write_json(
        tmp_path / "best_of_k-seed2" / "evaluation.json",
        {rule: {str(k): score for k in study.SHOWN} for rule in ("maj_at", "pass_at", "best_of")},
    )
    header, _, *rows = study.best_of_k(tmp_path).splitlines()
    assert header == "| seed | of k samples, % | k = 1 | k = 2 | k = 4 | k = 8 | k = 16 |"
    assert rows[0].startswith("| 2 | the verifier's choice | 50.0 (40–60) |") and len(rows) == 3
