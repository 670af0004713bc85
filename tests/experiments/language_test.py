"""The studies on language models (experiments/language.py): their commands and their table."""

import pathlib
import sys
from typing import Any

import pytest

import fakes

sys.path.insert(0, str(fakes.ROOT))
from experiments import language
from experiments.commonsense_qa_smollm2 import study as commonsense_qa
from experiments.gsm8k_smollm2 import study as gsm8k
from star_jax.config import validation


@pytest.mark.parametrize("arm", language.ARMS)
def test_what_makes_an_arm_comes_last_and_so_counts(arm: str):
    line = language.command("c.py", arm, 2, pathlib.Path("runs"), ["--config.rounds.count=3"])
    assert line[:5] == [
        *(sys.executable, "-m", "star_jax.main", "--config=c.py"),
        f"--workdir=runs/{arm.lower().replace(' ', '-')}-seed2",
    ]
    counts = [flag for flag in line if "rounds.count" in flag]
    assert counts[-1].endswith({"Few": "0", "Dir": "1", "STa": "3"}[arm[:3]])
    assert "--config.seed=2" in line


@pytest.mark.parametrize("study", [gsm8k, commonsense_qa], ids=["gsm8k", "commonsense_qa"])
def test_settings_of_the_studies_exist(study: Any):
    flags = [*study.SUBSET, *(flag for arm in language.ARMS.values() for flag in arm)]
    for flag in flags:
        path, _, text = flag.removeprefix("--config.").partition("=")
        value = validation.SETTINGS[path].metadata["allowed"].read(text)
        assert validation.problem(path, value) is None


def outcome(accuracies: list[float], **last: int) -> dict[str, Any]:
    rounds = [
        {"round": n, "accuracy": accuracy, "seconds": {"total": 90.0}, "train_steps": 7 * n}
        for n, accuracy in enumerate(accuracies)
    ]
    rounds[-1] |= last
    best = accuracies.index(max(accuracies))
    test: dict[str, Any] = {"accuracy": 0.25, "accuracy_interval": [0.125, 0.5]}
    test["evaluation"] = {"flexible_accuracy": 0.375}
    return {"rounds": rounds, "best_round": best, "test": {**test, "round": best}}


def test_the_table_has_the_arms_that_are_done_in_the_papers_order():
    found = {
        "STaR with rationalization": outcome(
            [0.5, 0.1, 0.6], tried=200, correct=50, kept=70, rationalized=20
        ),
        "STaR without rationalization": outcome(
            [0.5, 0.4], tried=200, correct=50, kept=50, rationalized=0
        ),
        "Few-shot with rationales": outcome([0.5]),
        "Direct fine-tuning": outcome([0.2, 0.3], tried=0, kept=200, rationalized=0),
    }
    rows = [line.strip("| ").split(" | ") for line in language.table(found).splitlines()[2:]]
    assert [row[0] for row in rows] == [arm for arm in language.ARMS if arm in found]
    assert {row[1] for row in rows} == {"25.0 (12.5-50.0)"} and {row[2] for row in rows} == {"37.5"}
    assert [row[3:] for row in rows] == [
        ["50.0", "0", "", "0", "2"],
        ["30.0", "1", "100", "7", "3"],
        ["50.0", "0", "25.0", "7", "3"],
        ["60.0", "2", "35.0 (25.0 + 10.0)", "14", "4"],
    ]
