import dataclasses
import json
import pathlib
import subprocess
import sys

import pytest
from etils import epath

import fakes
from star_jax import evaluate
from star_jax.config.validation import SettingsError
from star_jax.data.sample import Sample
from star_jax.grading import statistics
from tests.grading.ledger_test import sample


def test_majority_and_pass_over_the_first_samples():
    def answers(*given: str | None) -> list:
        return [
            dataclasses.replace(sample("q", correct=text == "7"), predicted=text, answer="7")
            for text in given
        ]

    found = evaluate.summarize(
        [answers("7", "7", "1", "1"), answers("1", "7", "7", None), answers(None, "2", "2", "2")]
    )
    assert (found["questions"], found["samples"]) == (3, 4)
    assert found["accuracy"] == pytest.approx(4 / 12)
    # of a tie the earlier answer counts; no answer is none
    assert {k: round(3 * v["accuracy"]) for k, v in found["maj_at"].items()} == {
        "1": 1,
        "2": 1,
        "4": 2,
    }
    at = {k: v["accuracy"] for k, v in found["pass_at"].items()}
    assert at["1"] == pytest.approx(found["accuracy"])
    assert at["2"] == pytest.approx(2 / 3 * (1 - 1 / 6)) and at["4"] == pytest.approx(2 / 3)
    for kind in ("maj_at", "pass_at"):
        for score in found[kind].values():
            low, high = score["interval"]
            assert 0 <= low <= score["accuracy"] <= high <= 1
    assert json.loads(json.dumps(found)) == found


def test_one_sample_is_plain_accuracy():
    found = evaluate.summarize([[sample(str(n), correct=n < 3)] for n in range(10)])
    assert found["accuracy"] == found["maj_at"]["1"]["accuracy"] == 0.3
    assert found["accuracy_interval"] == list(statistics.wilson(3, 10))


def test_samples_that_would_be_the_same_are_refused(tmp_path: pathlib.Path):
    with pytest.raises(SettingsError, match="--samples=4: all would be the same"):
        evaluate.evaluate(fakes.tiny({"model.source": "a/b"}), str(tmp_path), samples=4)


def test_it_must_be_said_what_to_evaluate(tmp_path: pathlib.Path):
    with pytest.raises(SettingsError, match="--model: must say what to evaluate"):
        evaluate.evaluate(fakes.tiny(), str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_the_model_of_the_command_line_stands_in_for_the_config_s(tmp_path: pathlib.Path):
    command = [sys.executable, "-m", "star_jax.evaluate", "--config=configs/jsonl.py"]
    command += [f"--config.task.data={tmp_path}/none.jsonl", f"--workdir={tmp_path / 'run'}"]
    command += [f"--model={tmp_path}/none"]
    done = subprocess.run(command, cwd=fakes.ROOT, capture_output=True, text=True)
    assert done.returncode and f"{tmp_path}/none: no such file or folder" in done.stderr


def test_a_run_s_model_is_evaluated_as_the_run_evaluated_it(tmp_path: pathlib.Path):
    run, environment = tmp_path / "run", fakes.environment(tmp_path / "cache")
    unseen = ["--config.task.ood_digits=2", "--config.evaluate.ood_problems=5"]
    small = ["--config.pretrain.steps=60", "--config.rounds.count=0", *unseen]
    subprocess.run(fakes.command(run, *small), env=environment, cwd=fakes.ROOT, check=True)
    command = [sys.executable, "-m", "star_jax.evaluate", "--config=tests/support/fakes.py"]
    command += [f"--model={run}", "--split=development", *unseen]
    command += ["--config.sampler.temperature=0.9"]  # one sample is greedy all the same
    command += [f"--workdir={tmp_path / 'evaluated'}"]
    done = subprocess.run(
        command, env=environment, cwd=fakes.ROOT, check=True, capture_output=True, text=True
    )
    found = json.loads((tmp_path / "evaluated" / evaluate.RESULT).read_text())
    assert found["accuracy"] == json.loads((run / "result.json").read_text())["base_accuracy"]
    assert f"{100 * found['accuracy']:.1f}" in done.stdout
    lines = [
        [json.loads(line) for path in paths for line in path.read_text().splitlines()]
        for paths in (
            sorted((run / "rounds/0000").glob("evaluation-*.jsonl")),
            sorted((tmp_path / "evaluated/rounds/0000").glob("votes-*.jsonl")),
        )
    ]
    judges = [
        {line["id"]: line["completion"] for line in some if line["group"] == "1"} for some in lines
    ]
    assert judges[0] == judges[1] and found["questions"] == len(lines[1]) == len(judges[1])
    assert len(lines[0]) == len(judges[0]) + 5, "what is out of distribution does not count"
    drawn = ["--samples=3", f"--workdir={tmp_path / 'drawn'}"]
    subprocess.run(command[:-1] + drawn, env=environment, cwd=fakes.ROOT, check=True)
    found = json.loads((tmp_path / "drawn" / evaluate.RESULT).read_text())
    right: dict[str, list[bool]] = {}
    for path in sorted((tmp_path / "drawn/rounds/0000").glob("votes-*.jsonl")):
        for line in map(json.loads, path.read_text().splitlines()):
            right.setdefault(line["id"], []).append(line["correct"])
    assert {len(flags) for flags in right.values()} == {3} and found["questions"] == len(right)
    some = [any(flags) for flags in right.values()]
    assert any(some) and not all(all(flags) for flags in right.values() if any(flags))
    assert found["pass_at"]["3"]["accuracy"] == pytest.approx(sum(some) / len(some))


def test_truncated_samples_have_no_vote():
    def said(text: str, truncated: bool) -> Sample:
        right = text == "7" and not truncated
        return dataclasses.replace(
            sample("q", correct=right), predicted=text, answer="7", truncated=truncated
        )

    cut_off, whole = [said("7", True)] * 3, [said("7", False), said("1", False), said("1", False)]
    assert evaluate.summarize([[*cut_off, *whole]])["maj_at"]["6"]["accuracy"] == 0


def test_the_folder_of_another_evaluation_is_refused(tmp_path: pathlib.Path):
    of = epath.Path(tmp_path) / evaluate.OF
    evaluate._check_folder(of, "owner/name", "test", 4)
    evaluate._check_folder(of, "owner/name", "test", 4)
    for other in (("owner/name", "development", 4), ("owner/name", "test", 8), ("b/c", "test", 4)):
        with pytest.raises(SettingsError, match="holds the evaluation of .* choose another"):
            evaluate._check_folder(of, *other)
