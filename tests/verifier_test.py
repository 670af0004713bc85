"""The commands one after the other: a run, its verifier, and an evaluation that it ranks."""

import json
import pathlib
import subprocess
import sys

import pytest

import fakes
from star_jax import verifier
from star_jax.grading import statistics
from star_jax.star import evaluation, ranking


def start(cache: pathlib.Path, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", f"star_jax.{program}", *arguments],
        env=fakes.environment(cache),
        cwd=fakes.ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )


def lines(folder: pathlib.Path, pattern: str) -> list[dict]:
    paths = sorted(folder.glob(pattern))
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


def test_a_run_makes_a_verifier_that_ranks_its_samples(tmp_path: pathlib.Path):
    cache, run, made = tmp_path / "cache", tmp_path / "run", tmp_path / "run-verifier"
    drawn = ["--config=tests/support/fakes.py", "--config.sampler.temperature=0.9"]
    done = start(cache, "main", *drawn, f"--workdir={run}")
    assert done.returncode == 0, done.stderr
    flags = [f"--run={run}", "--steps=30", "--learning_rate=1e-3", "--held_out=0.2"]
    done = start(cache, "verifier", *flags)
    assert done.returncode == 0, done.stderr
    result = json.loads((made / "result.json").read_text())
    assert result["pairs"] == len(lines(made, "pairs.jsonl")) > 10
    assert result["held_out"]["pairs"] == len(lines(made, "held_out.jsonl")) > 0

    command = [*drawn, f"--model={run}", "--split=development", "--samples=4"]
    command += [f"--workdir={tmp_path / 'ranked'}"]
    done = start(cache, "evaluate", *command, f"--verifier={made}")
    assert done.returncode == 0, done.stderr
    assert "best of 4" in done.stdout
    found = json.loads((tmp_path / "ranked" / evaluation.RESULT).read_text())
    assert found["verifier"] == str(made)
    scored = lines(tmp_path / "ranked", ranking.SCORES)
    samples = lines(tmp_path / "ranked/rounds/0000", "votes-*.jsonl")
    assert len(scored) == len(samples) == 4 * found["questions"]
    questions = [scored[at : at + 4] for at in range(0, len(scored), 4)]
    for size in (1, 2, 4):
        chances = []
        for some in questions:
            assert len({one["id"] for one in some}) == 1
            scores, right = ([one[name] for one in some] for name in ("score", "correct"))
            chances.append(statistics.best_of_k(scores, right, size))
        assert found["best_of"][str(size)]["accuracy"] == pytest.approx(sum(chances) / len(chances))
    assert found["best_of"]["1"]["accuracy"] == pytest.approx(found["accuracy"])

    again = start(cache, "evaluate", *command)  # without: the same samples, not drawn again
    assert again.returncode == 0 and "best of" not in again.stdout
    plain = json.loads((tmp_path / "ranked" / evaluation.RESULT).read_text())
    assert plain == {key: found[key] for key in found if key not in ("verifier", "best_of")}

    refused = start(cache, "evaluate", *command, f"--verifier={run}")
    assert refused.returncode == 2 and refused.stderr.startswith(f"--verifier={run}: holds a run")
    one = [each for each in command if each != "--samples=4"]
    refused = start(cache, "evaluate", *one, f"--verifier={made}")
    assert refused.returncode == 2 and "--samples=1 makes one" in refused.stderr
    refused = start(cache, "verifier", *flags[:-1], f"--workdir={made}")
    assert refused.returncode == 2 and "--held_out: 0.2 in the folder, 0.1 now" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "the following arguments are required: --run"),
        (["--run=x", "--beta=0"], "argument --beta: 0: must be a number in (0, inf)"),
        (["--run=x", "--steps=1.5"], "argument --steps: 1.5: must be a whole number in [1, inf)"),
        (["--run=x", "--held_out=1"], "argument --held_out: 1: must be a number in [0, 1)"),
        (["--run=x", "--mesh=1,2"], "argument --mesh: 1,2: must be three sizes"),
        (["--run=x", "--mesh=-1,0,1"], "argument --mesh: -1,0,1: must be three sizes"),
        (["--run=x", "--mesh=a,b,c"], "argument --mesh: a,b,c: must be three sizes"),
        (["--run=no_such_folder"], "--run=no_such_folder: holds no run"),
        (["--run=x", "--process=1"], "missing; give all of --coordinator"),
    ],
)
def test_what_cannot_be_is_refused_with_status_2(arguments: list[str], says: str, capsys):
    with pytest.raises(SystemExit) as end:
        verifier.main(arguments)
    assert end.value.code == 2 and says in capsys.readouterr().err
