"""Holds star_jax against lm-eval and against GSM8K's own rule, on what a real model writes.

    python -m experiments.peers.lm_eval_gsm8k --data=DATA [--questions=32] [--budget=256]
        [--batch=16] [--model=MODEL] [--venv=FOLDER] [--json=runs/peers/lm_eval_gsm8k.json]

DATA is a folder with GSM8K's train.jsonl and test.jsonl, MODEL what `star_jax.conversion.load.load`
takes (default: SmolLM2-135M-Instruct, fetched once). The first questions of the test set are
answered greedily, in float32 and behind the same six worked examples: by our sampler, and by lm-
eval with transformers on torch, from the same weights as we export them. lm-eval grades with the
filters and the metric of its own task `gsm8k`; it runs in a process and an environment of its own,
made once in FOLDER, which has the packages of this one and lm-eval beside them. Where both have
written the same text, both rules are compared on it; GSM8K's own rule is on all of ours. Each
difference is printed with its text and its name (see `rules`).
"""

import argparse
import dataclasses
import importlib.metadata
import json
import os
import pathlib
import subprocess
import sysconfig
import tempfile
import venv
from collections.abc import Sequence
from typing import Any

import jax

from experiments import fetch_smollm2
from experiments.bench import sampling, workload
from experiments.bench.workload import Questions
from experiments.peers import rules
from experiments.peers.rules import Both, Reading
from star_jax.conversion import load
from star_jax.data.tokenizer import HuggingFaceTokenizer
from star_jax.grading import grade
from star_jax.grading.grade import Verdict
from star_jax.runtime import sharding
from star_jax.storage import files
from star_jax.tasks.rows import read

PEER, VERSION = "lm_eval", "0.4.13"
FILTERS: dict[str, grade.Rule] = {"strict-match": "exact", "flexible-extract": "flexible"}
_TASK = "gsm8k_as_star_jax_asks"
_OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}


@dataclasses.dataclass(frozen=True)
class Ours:
    """What our sampler wrote for a question, up to the blank line that stopped it, and our grades.

    Attributes:
        text: of all tokens.
        truncated: the budget ended it.
        verdicts: by rule.
    """

    text: str
    truncated: bool
    verdicts: dict[grade.Rule, Verdict]

    def both(self, rule: grade.Rule, theirs: Reading, marker: str) -> Both:
        """Its text by a rule of ours and one of theirs."""
        verdict = self.verdicts[rule]
        ours = Reading(verdict.predicted, verdict.correct)
        return Both(self.text, verdict.completion, verdict.truncated, ours, theirs, marker)


@dataclasses.dataclass(frozen=True)
class Theirs:
    """What lm-eval's model wrote for a question, and its grades, by filter."""

    text: str
    readings: dict[str, Reading]


def work(model: str, data: str, count: int, budget: int) -> Questions:
    """The first `count` test questions in the order of their file, as star_jax asks them."""
    asked = workload.questions(HuggingFaceTokenizer.open(model), data, 0)
    numbered = sorted(asked.problems, key=lambda problem: int(problem.id.rpartition("-")[2]))
    return dataclasses.replace(asked, problems=numbered[:count], budget=budget)


def ask_ours(model: str, asked: Questions, batch: int) -> list[Ours]:
    """Our sampler's texts, graded as in a run."""
    loaded = load.load(model, sharding.make_mesh(devices=jax.devices()[:1]))
    sampler = sampling.Ours(loaded, asked, batch)
    sampler.run()
    found = []
    for problem, ids in zip(asked.problems, sampler.rows, strict=True):
        text, stop, _ = asked.tokenizer.decode(ids).partition(asked.stop)
        truncated = not stop and ids[-1] not in asked.ends
        verdicts: dict[grade.Rule, Verdict] = {
            rule: grade.grade(
                asked.prompter.task, problem, text.rstrip(), truncated=truncated, rule=rule
            )
            for rule in FILTERS.values()
        }
        found.append(Ours(text, truncated, verdicts))
    return found


def solutions(data: str, asked: Questions) -> list[str]:
    """The gold solutions as the data set has them."""
    rows, _ = read(data, "test")
    lines = {f"test-{row.line}": row.values["answer"] for row in rows}
    return [lines[problem.id] for problem in asked.problems]


def environment(folder: pathlib.Path) -> pathlib.Path:
    """An environment with lm-eval on top of this one's packages, whose versions stay; its python.

    Raises:
        CalledProcessError: pip could not install it, and has said why.
    """
    python = folder / "bin/python"
    if not list(folder.glob(f"lib/python*/site-packages/{PEER}-{VERSION}.dist-info/RECORD")):
        venv.create(folder, with_pip=True, clear=True)
        [own] = folder.glob("lib/python*/site-packages")
        (own / "beneath.pth").write_text(sysconfig.get_path("purelib") + "\n")
        here = importlib.metadata.distributions()
        stay = sorted({f"{one.name}=={one.version}" for one in here})
        (folder / "constraints.txt").write_text("\n".join(stay))
        command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        command += ["--constraint", folder / "constraints.txt", f"{PEER}[hf]=={VERSION}"]
        subprocess.run(command, check=True)
    return python


def ask_lm_eval(
    python: pathlib.Path, model: pathlib.Path, asked: Questions, gold: Sequence[str], batch: int
) -> list[Theirs]:
    """Texts and grades of lm-eval; nothing is downloaded.

    Args:
        python: of its environment.
        model: a folder that transformers opens.
        asked: the questions.
        gold: their solutions.
        batch: rows at a time.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        prompts = [asked.tokenizer.decode([*asked.prefix, *row]) for row in asked.encode()]
        rows = [{"prompt": p, "answer": a} for p, a in zip(prompts, gold, strict=True)]
        (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        [base] = python.parents[1].glob(f"lib/python*/site-packages/{PEER}/tasks/gsm8k/gsm8k.yaml")
        (folder / "task.yaml").write_text(json.dumps(task(base, folder / "rows.jsonl", asked)))
        command = [python, "-m", PEER, "run", "--model", "hf", "--tasks", _TASK]
        command += ["--model_args", f"pretrained={model},dtype=float32", "--device", "cpu"]
        command += ["--batch_size", str(batch), "--include_path", folder]
        command += ["--log_samples", "--output_path", folder / "out"]
        env = {**os.environ, **_OFFLINE, "HF_HOME": str(folder / "cache")}
        subprocess.run(command, check=True, env=env)
        [samples] = folder.glob("out/**/samples_*.jsonl")
        return answers([json.loads(line) for line in samples.read_text().splitlines()])


def task(base: pathlib.Path, rows: pathlib.Path, asked: Questions) -> dict[str, Any]:
    """lm-eval's own task (filters, metric), with our prompts, stop and budget."""
    return {
        "include": str(base),
        "task": _TASK,
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": {"test": str(rows)}},
        "training_split": None,
        "fewshot_split": None,
        "num_fewshot": 0,
        "doc_to_text": "{{prompt}}",
        "generation_kwargs": {
            "until": [asked.stop],
            "do_sample": False,
            "max_gen_toks": asked.budget,
        },
    }


def answers(samples: Sequence[dict[str, Any]]) -> list[Theirs]:
    """The lines of lm-eval's samples, which are one a question and filter, by question."""
    found: dict[int, Theirs] = {}
    for line in samples:
        one = found.setdefault(line["doc_id"], Theirs(line["resps"][0][0], {}))
        [number] = line["filtered_resps"]
        one.readings[line["filter"]] = Reading(number, line["exact_match"] == 1)
    return [found[number] for number in sorted(found)]


def compared(
    ours: Sequence[Ours], theirs: Sequence[Theirs], gold: Sequence[str]
) -> dict[str, list[Both]]:
    """The texts by each pair of rules."""
    alike = [(mine, other) for mine, other in zip(ours, theirs, strict=True) if same(mine, other)]
    markers = {"strict-match": rules.MARKER, "flexible-extract": ""}
    found = {
        f"{rule}, {name}": [
            mine.both(rule, other.readings[name], markers[name]) for mine, other in alike
        ]
        for name, rule in FILTERS.items()
    }
    found["exact, GSM8K's own"] = [
        mine.both("exact", rules.official(mine.text, solution), rules.MARKER)
        for mine, solution in zip(ours, gold, strict=True)
    ]
    return found


def same(ours: Ours, theirs: Theirs) -> bool:
    """Whether both have written the same, to the last space."""
    return ours.text == theirs.text


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", required=True, help="folder of GSM8K's train.jsonl, test.jsonl")
    parser.add_argument("--questions", type=int, default=32)
    parser.add_argument("--budget", type=int, default=256, help="new tokens of a question")
    parser.add_argument("--batch", type=int, default=16, help="rows at a time")
    parser.add_argument("--model", help="(default: SmolLM2-135M-Instruct)")
    cache = fetch_smollm2.cache_folder()
    parser.add_argument("--venv", type=pathlib.Path, default=cache / f"{PEER}-{VERSION}")
    path = pathlib.Path("runs/peers/lm_eval_gsm8k.json")
    parser.add_argument("--json", type=pathlib.Path, default=path)
    given = parser.parse_args(arguments)
    model = given.model or str(fetch_smollm2.fetch(cache))
    asked = work(model, given.data, given.questions, given.budget)
    gold = solutions(given.data, asked)
    ours = ask_ours(model, asked, given.batch)
    with tempfile.TemporaryDirectory() as folder:
        exported = workload.export(model, pathlib.Path(folder) / "model")
        theirs = ask_lm_eval(environment(given.venv), exported, asked, gold, given.batch)
    pairs = compared(ours, theirs, gold)
    identical = sum(map(same, ours, theirs))
    given.json.parent.mkdir(parents=True, exist_ok=True)
    files.write_json(
        given.json,
        {
            "ids": [problem.id for problem in asked.problems],
            "ours": [dataclasses.asdict(one) for one in ours],
            "theirs": [dataclasses.asdict(one) for one in theirs],
            "identical": identical,
            "differences": {
                name: list(map(rules.difference, both)) for name, both in pairs.items()
            },
        },
    )
    show(asked, ours, theirs, pairs)
    print(f"\n{identical} of {len(ours)} texts are identical\n")
    print("\n".join(rules.table(pairs)))


def show(
    asked: Questions,
    ours: Sequence[Ours],
    theirs: Sequence[Theirs],
    pairs: dict[str, list[Both]],
) -> None:
    """Prints the texts that differ, and the differences between rules with theirs."""
    for problem, mine, other in zip(asked.problems, ours, theirs, strict=True):
        if not same(mine, other):
            print(f"\n{problem.id}: two texts\n  ours   {mine.text!r}\n  theirs {other.text!r}")
    for name, texts in pairs.items():
        for both in texts:
            if what := rules.difference(both):
                print(f"\n{name}: {what}; {both.ours}, {both.theirs}\n{both.text!r}")


if __name__ == "__main__":
    main()
