import json
import pathlib
import subprocess
import sys

import pytest

import fakes
from star_jax.star import evaluation


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
    found = json.loads((tmp_path / "evaluated" / evaluation.RESULT).read_text())
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
    found = json.loads((tmp_path / "drawn" / evaluation.RESULT).read_text())
    right: dict[str, list[bool]] = {}
    for path in sorted((tmp_path / "drawn/rounds/0000").glob("votes-*.jsonl")):
        for line in map(json.loads, path.read_text().splitlines()):
            right.setdefault(line["id"], []).append(line["correct"])
    assert {len(flags) for flags in right.values()} == {3} and found["questions"] == len(right)
    some = [any(flags) for flags in right.values()]
    assert any(some) and not all(all(flags) for flags in right.values() if any(flags))
    assert found["pass_at"]["3"]["accuracy"] == pytest.approx(sum(some) / len(some))
