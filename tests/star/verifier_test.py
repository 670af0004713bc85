"""A verifier from samples that differ in what they show: trained, killed, and finished again."""

import pathlib
from typing import Any

import numpy as np
import pytest

import past_runs
import toys
from star_jax.config.validation import SettingsError
from star_jax.conversion import load
from star_jax.reporting import metrics
from star_jax.star import verifier
from star_jax.star.finetune import TrainingReport
from star_jax.star.verifier_run import VerifierSettings
from star_jax.storage import files
from star_jax.storage.checkpoint import named
from tests.star.resume_test import weights

pytestmark = pytest.mark.usefixtures("compiled_once")

STEPS = 24


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return past_runs.write(tmp_path_factory.mktemp("past") / "run", save_every=5)


def train(run: pathlib.Path, folder: pathlib.Path, **changes: Any) -> dict[str, Any]:
    usual = {"steps": STEPS, "batch_pairs": 6, "held_out": 0.3, "learning_rate": 3e-3}
    return verifier.train_verifier(VerifierSettings(str(run), **(usual | changes)), folder)


@pytest.fixture(scope="module")
def whole(run: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A verifier that nobody interrupted."""
    folder = tmp_path_factory.mktemp("whole") / "verifier"
    train(run, folder)
    return folder


def test_it_tells_right_from_wrong_for_questions_that_it_has_not_seen(whole: pathlib.Path):
    result = files.read_json(whole / "result.json")
    measured = result["held_out"]
    assert result["pairs"] == result["questions"] and measured["pairs"] == measured["questions"]
    assert result["pairs"] + measured["pairs"] == len(past_runs.PROBLEMS)
    assert measured["accuracy"] == measured["reward_accuracy"] == 1 == result["reward_accuracy"]
    assert measured["accuracy_interval"][0] < 1 == measured["accuracy_interval"][1]
    assert 0 <= measured["reference_accuracy"] <= 1
    assert result["loss"] < 0.2 and result["reward_margin"] > 1
    assert (result["round"], result["steps"]) == (1, STEPS)


def test_metrics_begin_where_the_margins_are_0(whole: pathlib.Path):
    lines = metrics.read_metrics(whole / metrics.METRICS)
    assert [(line["phase"], line["step"]) for line in lines] == [("dpo", n) for n in (10, 20, 24)]
    names = {"loss", "reward_margin", "reward_accuracy", "gradient_norm", "tokens"}
    assert all(line.keys() >= names for line in lines)


def test_it_is_a_model_of_its_own_and_no_training_is_left(run: pathlib.Path, whole: pathlib.Path):
    mesh = toys.one_device()
    own, before = (load.load(str(folder), mesh).params for folder in (whole, run))
    moved = {
        name: np.abs(np.asarray(x) - np.asarray(y)).max()
        for (name, x), y in zip(named(own).items(), named(before).values(), strict=True)
    }
    assert min(moved.values()) > 0
    assert [path.name for path in (whole / "checkpoints").iterdir()] == ["rounds"]
    assert [path.name for path in (whole / "checkpoints/rounds").iterdir()] == ["1"]


def test_killed_and_resumed_it_has_the_same_bytes(
    run: pathlib.Path, whole: pathlib.Path, tmp_path: pathlib.Path, monkeypatch
):
    folder, on_step, write = tmp_path / "killed", TrainingReport.on_step, files.write_json
    due = ["reference.json", 3, 12, "result.json"]

    def hear(self, step, values):
        if due and step == due[0]:
            due.pop(0)
            raise KeyboardInterrupt
        on_step(self, step, values)

    def write_or_die(path, value):
        if due and pathlib.Path(path).name == due[0]:
            due.pop(0)
            raise KeyboardInterrupt
        write(path, value)

    monkeypatch.setattr(TrainingReport, "on_step", hear)
    monkeypatch.setattr(files, "write_json", write_or_die)
    for _ in range(4):
        with pytest.raises(KeyboardInterrupt):
            train(run, folder)
    assert not due
    train(run, folder)
    for name in (
        "pairs.jsonl",
        "held_out.jsonl",
        "reference.json",
        "config.json",
        "metrics.jsonl",
        "result.json",
    ):
        assert (folder / name).read_bytes() == (whole / name).read_bytes(), name
    assert weights(folder) == weights(whole)


def test_a_finished_one_is_only_shown_again(run, whole: pathlib.Path, monkeypatch, capsys):
    monkeypatch.setattr(verifier, "_train", lambda made: pytest.fail("trains again"))
    assert train(run, whole) == files.read_json(whole / "result.json")
    said = " ".join(capsys.readouterr().out.split())
    assert "the right completion is the likelier one in 100.0 %" in said
    assert "use it with: python -m star_jax.evaluate --verifier=" in said


def test_the_margin_of_the_first_step_is_0_and_micro_batches_change_nothing(
    tmp_path: pathlib.Path, monkeypatch
):
    heard: dict[int, list[float]] = {}
    for micro_batch in (0, 1):
        run = past_runs.write(tmp_path / f"run{micro_batch}", micro_batch=micro_batch)
        losses = heard.setdefault(micro_batch, [])
        monkeypatch.setattr(
            TrainingReport,
            "on_step",
            lambda self, step, values, losses=losses: losses.append(values["loss"]),
        )
        with pytest.raises(IndexError):  # no line of metrics.jsonl was written
            train(run, tmp_path / f"verifier{micro_batch}", steps=3, batch_pairs=12)
    assert heard[0][0] == pytest.approx(np.log(2), abs=1e-4)
    assert heard[0] == pytest.approx(heard[1], abs=1e-4)


def test_training_that_diverges_names_the_flag_and_saves_nothing(run, tmp_path: pathlib.Path):
    with pytest.raises(SettingsError, match="training has diverged.*a lower --learning_rate"):
        train(run, tmp_path / "verifier", learning_rate=1e30)
    assert not (tmp_path / "verifier/checkpoints/rounds/1").exists()


def test_errors_of_the_mesh_are_errors_of_settings(run: pathlib.Path, tmp_path: pathlib.Path):
    settings = VerifierSettings(str(run))
    with pytest.raises(SettingsError, match="^--mesh=3,1,1: .* does not multiply to the"):
        verifier.train_verifier(settings, tmp_path / "verifier", (3, 1, 1))
