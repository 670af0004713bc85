"""Whether the device's grader agrees with the host's on what runs generated, and what it costs.

    python -m experiments.bench.grader RUN... [--json=FILE]

RUN is a run's folder. Every completion in its ledger is encoded again, with the text that stopped
it and more after that, and graded by both: against the gold answer, and against what the host finds
in it, so that an answer is right in as many rows as have one. A chunk is a shard of the ledger. Its
seconds, compilation not counted, are set against those that the run recorded for sampling it.
"""

import argparse
import dataclasses
import functools
import json
import pathlib
import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from star_jax import tasks
from star_jax.config import schema
from star_jax.data import tokenizer_loading
from star_jax.data.token_bytes import make_token_bytes
from star_jax.data.tokenizer import HuggingFaceTokenizer
from star_jax.grading import device
from star_jax.grading.grade import grade as host_grade
from star_jax.runtime.compile import Signature, lower
from star_jax.tasks import Problem, Task

_SAMPLING = ("generate", "rationalize", "evaluate")  # what result.json has seconds of
_MORE = "\n#### 1 Therefore, the answer is (a)."  # after the stop text: not to be read


def measure(run: pathlib.Path) -> dict[str, Any]:
    """Grades all that a run generated, and counts."""
    config = json.loads((run / "config.json").read_text())
    known = {field.name for field in dataclasses.fields(schema.Task)}
    chosen = {name: value for name, value in config["task"].items() if name in known}
    task = tasks.make(schema.Task(**chosen))
    rule = task.byte_rule()
    if rule is None:
        raise SystemExit(f"{run}: the task {task.name} is graded on the host alone")
    tokenizer = HuggingFaceTokenizer.open(run / tokenizer_loading.RUNS)
    stop = config["sampler"].get("stop", "") or task.separator
    shards = [(path, _lines(path)) for path in sorted(run.glob("rounds/*/*-*.jsonl"))]
    tokens = {path: [_tokens(line, tokenizer, stop) for line in lines] for path, lines in shards}
    longest = max(len(row) for rows in tokens.values() for row in rows)
    rows = max(len(lines) for _, lines in shards)
    token_bytes = make_token_bytes(tokenizer.token_bytes(), tokenizer.vocab_size)
    grade = functools.partial(device.grade, rule, token_bytes, stop.encode())
    program: Any = None
    found: dict[str, int] = dict.fromkeys(
        ("completions", "right", "wrong", "own", "disagreements"), 0
    )
    seconds: list[float] = []
    golds = {
        (path, own): [_gold(task, line, own) for line in lines]
        for path, lines in shards
        for own in (False, True)
    }
    room = max(len(gold.encode()) for answers in golds.values() for gold in answers)
    for path, lines in shards:
        padded = np.zeros((rows, longest), np.int32)
        length = np.zeros((rows,), np.int32)
        for i, row in enumerate(tokens[path]):
            padded[i, : len(row)] = row
            length[i] = len(row)
        for own in (False, True):
            answers = golds[path, own]
            arrays = device.gold([*answers, *[""] * (rows - len(lines))], room)
            signature = Signature((padded, length, *arrays))
            program = program or lower(grade, signature).compile()
            begun = time.perf_counter()
            got, *_ = jax.device_get(program(padded, length, *arrays))
            seconds.append(time.perf_counter() - begun)
            _count(found, task, lines, answers, got, own)
    recorded, timed = _recorded(run), sum(not path.name.startswith("test") for path, _ in shards)
    each = float(np.mean(seconds))
    return {
        **found,
        "chunks": len(shards),
        "rows": rows,
        "tokens": longest,
        "seconds_a_chunk": round(each, 4),
        "share_of_sampling": round(each * timed / recorded, 5) if recorded else None,
    }


def _lines(path: pathlib.Path) -> list[dict[str, Any]]:
    """Of any version of the ledger: the fields that count are as old as it."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def _tokens(line: dict[str, Any], tokenizer: HuggingFaceTokenizer, stop: str) -> list[int]:
    """What the model may have written."""
    after = stop + _MORE if stop and not line["truncated"] else ""
    return tokenizer.encode(line["completion"] + after)


def _gold(task: Task, line: dict[str, Any], own: bool) -> str:
    return (own and task.answer(line["completion"])) or line["answer"]


def _count(
    found: dict[str, int],
    task: Task,
    lines: Sequence[dict[str, Any]],
    golds: Sequence[str],
    got: np.ndarray,
    own: bool,
) -> None:
    """Adds one chunk's verdicts; a truncated row is never right, whoever grades it."""
    for line, gold, said in zip(lines, golds, got, strict=False):
        problem = Problem("", "", gold, "", "", tuple(line.get("choices", ())))
        truncated = line["truncated"]
        verdict = host_grade(task, problem, line["completion"], truncated=truncated)
        right = bool(said) and not truncated
        found["disagreements"] += right != verdict.correct
        if own:
            found["own"] += right
        else:
            found["completions"] += 1
            found["right" if right else "wrong"] += 1


def _recorded(run: pathlib.Path) -> float:
    """Seconds of sampling in all rounds."""
    rounds = json.loads((run / "result.json").read_text())["rounds"]
    return sum(one["seconds"][phase] for one in rounds for phase in _SAMPLING)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("runs", metavar="RUN", nargs="+", type=pathlib.Path)
    parser.add_argument("--json", type=pathlib.Path, help="where to write the figures too")
    given = parser.parse_args(arguments)
    found = {str(run): measure(run) for run in given.runs}
    for run, figures in found.items():
        print(run)
        for name, value in figures.items():
            print(f"  {name:20} {value}")
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
