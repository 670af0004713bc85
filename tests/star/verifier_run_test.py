import dataclasses
import json
import pathlib

import pytest
from etils import epath

import fakes
import past_runs
from star_jax.config.validation import SettingsError, to_dict
from star_jax.data.tokenizer import HuggingFaceTokenizer
from star_jax.star import verifier_run
from star_jax.star.verifier_run import VerifierRun, VerifierSettings
from star_jax.storage import files


@pytest.fixture
def run(tmp_path: pathlib.Path) -> pathlib.Path:
    return past_runs.write(tmp_path / "run")


def make(run: pathlib.Path, **changes) -> VerifierRun:
    settings = VerifierSettings(**{"run": str(run), "held_out": 0.3, "steps": 5} | changes)
    return verifier_run.make(settings, epath.Path(f"{run}-verifier"), ())


def lines(path: pathlib.Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_folder_has_pairs_tokenizer_and_the_shape_of_the_model(run: pathlib.Path):
    made = make(run)
    folder = pathlib.Path(made.folder)
    trained, held_out = (lines(folder / name) for name in ("pairs.jsonl", "held_out.jsonl"))
    assert len(trained) == len(made.trained) > len(held_out) == len(made.held_out) > 0
    prompts = {past_runs.TASK.prompt(problem, False) for problem in past_runs.PROBLEMS}
    assert {line["prompt"] for line in trained + held_out} == prompts
    assert {line["prompt"] for line in trained}.isdisjoint(line["prompt"] for line in held_out)
    config = files.read_json(folder / "config.json")
    assert config["model"] == to_dict(past_runs.SETTINGS)["model"]
    rate = past_runs.SETTINGS.train.learning_rate / 10
    assert config["verifier"] == dataclasses.asdict(made.settings) | {"rounds": 2}
    assert (made.settings.round, made.settings.learning_rate) == (1, rate)
    opened = HuggingFaceTokenizer.open(folder)
    assert opened.token_bytes() == HuggingFaceTokenizer.open(run).token_bytes()


def test_texts_are_what_the_pairs_say_each_once(run: pathlib.Path):
    made = make(run)
    texts = made.texts
    assert len(texts.examples) == len(made.trained) * 2 + len(made.held_out) * 2
    for pairs, index in ((made.trained, texts.trained), (made.held_out, texts.held_out)):
        for pair, both in zip(pairs, index, strict=True):
            prompt = [
                1,
                *fakes.TOKENIZER.encode(past_runs.TASK.prompt(pair.problem, False)),
            ]
            for text, at in zip((pair.chosen, pair.rejected), both, strict=True):
                example = texts.examples[at]
                ids = [*fakes.TOKENIZER.encode(text), fakes.TOKENIZER.eos_id]
                assert example.tokens.tolist() == prompt + ids
                assert example.weights.tolist() == [0] * len(prompt) + [1] * len(ids)


def test_rounds_that_the_run_has_added_since_are_left_out(run: pathlib.Path):
    before = make(run)
    first, second = past_runs.every()
    more = [past_runs.sample(problem, "another") for problem in past_runs.PROBLEMS]
    for name in ("rounds", "checkpoints"):
        epath.Path(run / name).rmtree()
    past_runs.write(run, [first, second, more], best=3)
    (run / "checkpoints/rounds/3").rename(run / "checkpoints/rounds/1")
    again = make(run)
    assert (again.trained, again.settings) == (before.trained, before.settings)


def test_other_settings_are_refused_by_their_flags(run: pathlib.Path):
    make(run, seed=3)
    with pytest.raises(SettingsError) as refused:
        make(run, beta=0.5)
    first, *rest = str(refused.value).splitlines()
    assert "set these flags back" in first and f"{run}-verifier" in first
    assert rest == [
        "--beta: 0.1 in the folder, 0.5 now",
        "--seed: 3 in the folder, 0 now",
    ]


def test_a_run_s_folder_is_not_one_for_a_verifier(run: pathlib.Path):
    before = (run / "config.json").read_bytes()
    with pytest.raises(SettingsError, match="--workdir=.*: holds a run"):
        verifier_run.make(VerifierSettings(str(run)), epath.Path(run), ())
    assert (run / "config.json").read_bytes() == before


def test_nothing_to_compare_is_refused_and_leaves_no_folder(tmp_path: pathlib.Path):
    run = past_runs.write(tmp_path / "run", past_runs.every()[:1])
    with pytest.raises(SettingsError, match="--run=.*: no question has both a right and a wrong"):
        make(run)
    assert not pathlib.Path(f"{run}-verifier").exists()


def test_rationalizations_may_be_left_out(tmp_path: pathlib.Path):
    first = past_runs.every()[0]
    hinted = [
        past_runs.sample(one, past_runs.right(one).completion, hint=True)
        for one in past_runs.PROBLEMS
    ]
    run = past_runs.write(tmp_path / "run", [[*first, *hinted]])
    with pytest.raises(SettingsError, match="no question has both"):
        make(run, rationalized=False)
    assert len(make(run).trained) + len(make(run).held_out) == len(past_runs.PROBLEMS)


def test_pairs_with_a_text_beyond_the_context_are_left_out(tmp_path: pathlib.Path, capsys):
    first, second = past_runs.every()
    first[0] = past_runs.sample(past_runs.PROBLEMS[0], "9 " * 300)
    made = make(past_runs.write(tmp_path / "run", [first, second]))
    assert len(made.trained) + len(made.held_out) == len(past_runs.PROBLEMS) - 1
    assert "1 of 24 pairs have a text of more than the 256 tokens" in capsys.readouterr().out


def test_a_run_whose_texts_are_all_beyond_the_context_is_refused(tmp_path: pathlib.Path):
    first = [past_runs.sample(problem, "9 " * 300) for problem in past_runs.PROBLEMS]
    run = past_runs.write(tmp_path / "run", [first, past_runs.every()[1]])
    with pytest.raises(SettingsError, match="each of its 24 pairs .* 256 tokens .*max_new_tokens"):
        make(run)
