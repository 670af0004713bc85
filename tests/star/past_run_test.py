import dataclasses
import pathlib

import pytest
from etils import epath

import fakes
import past_runs
from star_jax.config import validation
from star_jax.config.validation import SettingsError
from star_jax.star.past_run import PastRun
from star_jax.storage import files


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    hinted = dataclasses.replace(past_runs.right(past_runs.PROBLEMS[0]), hint=True)
    leaking = dataclasses.replace(hinted, kept=False, id="leaks")
    first, second = past_runs.every()
    return past_runs.write(
        tmp_path_factory.mktemp("past") / "run", [[*first, hinted, leaking], second]
    )


def test_its_settings_rounds_and_samples_are_read(folder: pathlib.Path):
    past = PastRun.open(str(folder))
    assert (past.rounds, past.best_round) == (2, 1)
    assert past.settings == fakes.tiny()
    first, second = past_runs.every()
    [hinted] = [sample for sample in past.samples(1) if sample.hint]
    assert hinted.kept and hinted.prompt == past_runs.right(past_runs.PROBLEMS[0]).prompt
    assert past.samples(1) == [*first, hinted]
    assert past.samples(2) == [*first, hinted, *second]


def test_prompts_have_the_run_s_tokens_and_no_examples(folder: pathlib.Path):
    prompter = PastRun.open(str(folder)).prompter()
    problem = past_runs.PROBLEMS[0]
    asked = [1, *fakes.TOKENIZER.encode(past_runs.TASK.prompt(problem, False))]
    assert prompter.prompt_ids(problem, False) == asked
    assert prompter.few_shot(False) == []
    assert prompter.end == fakes.TOKENIZER.eos_id


def test_the_weights_of_a_round_that_has_none_are_refused(folder: pathlib.Path):
    past = PastRun.open(str(folder))
    assert past.source(1) == str(folder / "checkpoints/rounds/1")
    assert past.source(0) == str(folder / "checkpoints/rounds/0")
    with pytest.raises(SettingsError, match=r"--round=2: .*rounds/2 is not there"):
        past.source(2)


def test_the_base_of_a_pretrained_run_is_its_source(folder: pathlib.Path):
    past = PastRun.open(str(folder))
    model = dataclasses.replace(past.settings.model, source="owner/name")
    files.write_json(folder / "data.json", {"checkpoint": ""})
    pretrained = dataclasses.replace(past, settings=dataclasses.replace(past.settings, model=model))
    assert pretrained.source(0) == "owner/name"
    assert pretrained.source(1) == past.source(1)


@pytest.mark.parametrize(
    ("config", "rounds", "says"),
    [
        (None, 0, "--run=.*: holds no run"),
        ({"verifier": {}, "model": {}}, 0, "--run=.*: holds a verifier; name the run"),
        (validation.to_dict(fakes.tiny()), 0, "--run=.*: has no finished round yet"),
        (validation.to_dict(fakes.tiny()), 1, "--run=.*: has no finished round yet"),
    ],
)
def test_what_is_no_run_is_refused(tmp_path: pathlib.Path, config, rounds: int, says: str):
    if config is not None:
        files.write_json(tmp_path / "config.json", config)
    if rounds:
        files.write_json(tmp_path / "result.json", {"rounds": [{}], "best_round": 0})
    with pytest.raises(SettingsError, match=says):
        PastRun.open(str(tmp_path))


def test_a_run_without_samples_is_refused(tmp_path: pathlib.Path):
    past = PastRun(
        epath.Path(past_runs.write(tmp_path / "run", [[]])), fakes.tiny(), rounds=1, best_round=1
    )
    with pytest.raises(SettingsError, match="has no samples in 1 round"):
        past.samples(1)
