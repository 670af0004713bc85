"""The grader's bench (experiments/bench/grader.py), on a run that is made up."""

import json
import pathlib
from typing import Any

import pytest

from experiments.bench import grader
from star_jax.data.tokenizer import ByteTokenizer
from star_jax.tasks.arithmetic import Arithmetic


def make(folder: pathlib.Path, task: dict[str, Any], lines: list[dict[str, Any]]) -> pathlib.Path:
    sampler = {"stop": "", "max_new_tokens": 0}
    (folder / "config.json").write_text(json.dumps({"task": task, "sampler": sampler}))
    seconds = {"generate": 3.0, "rationalize": 1.0, "evaluate": 0.0, "train": 9.0}
    (folder / "result.json").write_text(json.dumps({"rounds": [{"seconds": seconds}]}))
    (folder / "rounds/0001").mkdir(parents=True)
    for kind in ("samples", "test"):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"rounds/0001/{kind}-00000.jsonl").write_text(text)
    ByteTokenizer(Arithmetic.markup).save(folder / "tokenizer")
    return folder


def line(completion: str, answer: str, truncated: bool = False) -> dict[str, Any]:
    return {"completion": completion, "answer": answer, "truncated": truncated}


def test_what_a_run_generated_is_counted(tmp_path: pathlib.Path):
    lines = [
        line("<scratch>\n</scratch>\n1 2", "12"),
        line("<scratch>\n</scratch>\n0 1 2", "12"),
        line("<scratch>\n</scratch>\n1 3", "12"),
        line("<scratch>\n", "12"),
        line("<scratch>\n</scratch>\n1 2", "12", truncated=True),
    ]
    run = make(tmp_path, {"name": "arithmetic", "a_setting_that_is_gone": 1}, lines)
    grader.main([str(run), f"--json={tmp_path / 'found.json'}"])
    (found,) = json.loads((tmp_path / "found.json").read_text()).values()
    counts = {name: found[name] for name in ("completions", "right", "wrong", "own", "chunks")}
    assert counts == {"completions": 10, "right": 4, "wrong": 6, "own": 6, "chunks": 2}
    assert found["disagreements"] == 0
    assert found["share_of_sampling"] == pytest.approx(found["seconds_a_chunk"] / 4, abs=1e-4)


def test_what_only_the_host_grades_is_refused(tmp_path: pathlib.Path):
    task = {"name": "jsonl", "data": "-", "rule": "regex", "pattern": "(a)"}
    with pytest.raises(SystemExit, match="the task jsonl is graded on the host alone"):
        grader.measure(make(tmp_path, task, [line("a", "a")]))
