import dataclasses
import json
import pathlib
import types
from typing import Any

import numpy as np
import pytest
from etils import epath
from rich.console import Console

import fakes
import past_runs
import reference
import toys
from star_jax.config.validation import SettingsError, to_dict
from star_jax.conversion import load
from star_jax.data.prompts import Prompter
from star_jax.data.tokenizer import ByteTokenizer, HuggingFaceTokenizer
from star_jax.runtime.compile import Compiler
from star_jax.star import ranking
from star_jax.storage import files


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A verifier that was never trained."""
    folder = past_runs.write(tmp_path_factory.mktemp("verifier") / "one")
    model = to_dict(fakes.tiny())["model"]
    files.write_json(folder / "config.json", {"model": model, "verifier": {}})
    return folder


def evaluation(verifier: pathlib.Path, **changes: Any) -> Any:
    """Stands in for the run of an evaluation."""
    mesh = toys.one_device()
    tokenizer = HuggingFaceTokenizer.open(verifier)
    own: dict[str, Any] = {
        "model": load.check(str(verifier), mesh),
        "mesh": mesh,
        "settings": fakes.tiny(),
        "tokenizer": tokenizer,
        "prompter": Prompter(tokenizer, past_runs.TASK),
        "console": Console(quiet=True),
        "programs": types.SimpleNamespace(compiler=Compiler()),
    }
    return types.SimpleNamespace(**(own | changes))


def test_a_single_sample_is_not_ranked(folder: pathlib.Path):
    ranking.check_folder(str(folder), 2)
    with pytest.raises(SettingsError, match="--verifier=.*--samples=1 makes one; set --samples=16"):
        ranking.check_folder(str(folder), 1)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (None, "holds no verifier; make one with: python -m star_jax.verifier --run=RUN"),
        ({"model": {}}, "holds a run, not a verifier; make one"),
        ({"verifier": {}}, "is not trained to its end; run the command that made it again"),
    ],
)
def test_a_folder_without_a_verifier_is_refused(tmp_path: pathlib.Path, config, says: str):
    if config is not None:
        files.write_json(tmp_path / "config.json", config)
    with pytest.raises(SettingsError, match=f"--verifier={tmp_path}: {says}"):
        ranking.check_folder(str(tmp_path), 4)


def test_a_verifier_of_the_same_model_is_accepted(folder: pathlib.Path):
    ranking.check(evaluation(folder), str(folder))


def test_another_shape_tokenizer_or_chat_is_refused(folder: pathlib.Path):
    run = evaluation(folder)
    other = dataclasses.replace(run.model, heads=4, head_dim=8)
    with pytest.raises(SettingsError, match=r"--verifier=.*another shape .*\(heads: 2 in the veri"):
        ranking.check(evaluation(folder, model=other), str(folder))
    with pytest.raises(SettingsError, match="--verifier=.*: has another tokenizer"):
        ranking.check(evaluation(folder, tokenizer=ByteTokenizer()), str(folder))
    settings = fakes.tiny()
    chat = dataclasses.replace(settings, model=dataclasses.replace(settings.model, chat=True))
    with pytest.raises(SettingsError, match="--verifier=.*: was trained with config.model.chat=F"):
        ranking.check(evaluation(folder, settings=chat), str(folder))


def test_what_cannot_be_read_is_refused(folder: pathlib.Path, tmp_path: pathlib.Path):
    files.write_json(tmp_path / "config.json", {"model": {}, "verifier": {}})
    (tmp_path / "checkpoints/rounds/1").mkdir(parents=True)
    with pytest.raises(SettingsError, match=f"--verifier={tmp_path}: .*config.model must say"):
        ranking.check(evaluation(folder), str(tmp_path))


def test_scores_are_log_likelihoods_of_completion_and_end(folder: pathlib.Path, tmp_path):
    run = evaluation(folder, folder=epath.Path(tmp_path))
    problems = past_runs.PROBLEMS[:3]
    samples = [make(one) for one in problems for make in (past_runs.right, past_runs.wrong)]
    samples += [samples[0], past_runs.sample(problems[0], "")]
    scores = ranking.score(run, str(folder), samples)
    weights = reference.weights(past_runs.weights())
    for sample, score in zip(samples, scores, strict=True):
        prompt = run.prompter.prompt_ids(sample.problem, False)
        ids = [*fakes.TOKENIZER.encode(sample.completion), fakes.TOKENIZER.eos_id]
        weight = [0.0] * len(prompt) + [1.0] * len(ids)
        loss, _ = reference.loss(run.model, weights, [*prompt, *ids], weight)
        assert score == pytest.approx(-loss, rel=1e-4)
    assert scores[0] == scores[6], "equal texts have equal scores"
    written = [json.loads(line) for line in (tmp_path / ranking.SCORES).read_text().splitlines()]
    assert written == [
        {"id": sample.id, "correct": sample.correct, "score": score}
        for sample, score in zip(samples, scores, strict=True)
    ]


def test_a_text_is_cut_to_what_the_model_can_read():
    prompter = Prompter(fakes.TOKENIZER, past_runs.TASK)
    problem = past_runs.PROBLEMS[0]
    whole = ranking.example(prompter, problem, "1 2", 99)
    cut = ranking.example(prompter, problem, "1 2", len(whole.tokens) - 2)
    assert cut.tokens.tolist() == whole.tokens[:-2].tolist()
    assert cut.weights.tolist() == whole.weights[:-2].tolist()
    assert whole.weights.sum() == 4 and whole.tokens[-1] == fakes.TOKENIZER.eos_id


@pytest.mark.parametrize("broken", [np.nan, -np.inf])
def test_a_score_that_is_no_number_is_refused(broken: float):
    parts = [np.zeros(3, np.float32), np.array([0, broken], np.float32)]
    programs: Any = types.SimpleNamespace(score=lambda *given, **options: parts)
    with pytest.raises(SettingsError, match="log-likelihood is NaN or infinite"):
        ranking.log_likelihoods(programs, None, [])


def test_likelihoods_are_sums_over_tokens():
    parts = [np.array([-1.5, -2.0], np.float32), np.zeros(0, np.float32)]
    programs: Any = types.SimpleNamespace(score=lambda *given, **options: parts)
    assert ranking.log_likelihoods(programs, None, []).tolist() == [-3.5, 0.0]


def test_batches_are_those_that_a_device_trains_on():
    cfg = dataclasses.replace(fakes.tiny().train, micro_batch=2, length=100)
    mesh = toys.one_device()
    config = toys.BYTES
    few, many = (ranking.score_programs(Compiler(), config, mesh, cfg, n) for n in (40, 130))
    assert (few.batch_size, few.length, many.length) == (2, 112, 144)
