import json
import pathlib
from typing import Any

import pytest

import fakes
from star_jax import problems
from star_jax.problems import Problems
from star_jax.prompts import Prompter
from star_jax.tasks.jsonl import Jsonl
from star_jax.tasks.rows import DataError
from star_jax.tokenizer import ByteTokenizer

TOKENIZER = ByteTokenizer()


def gathered(data: pathlib.Path, room: int, bad: float = 0.5, **task: Any) -> Problems:
    settings = fakes.tiny(
        {"task.bad": bad, "rounds.problems": 0, "evaluate.problems": 0, "task.name": "arithmetic"}
    )
    return problems.gather(settings, Prompter(TOKENIZER, Jsonl(str(data), bad=bad, **task)), room)


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    """Forty questions, every eighth of them long, one without an answer; three to test on."""
    rows: list[dict[str, str]] = [
        {"question": f"What is {n} plus 1?" + " Think." * (40 * (n % 8 == 0)), "answer": str(n + 1)}
        for n in range(40)
    ]
    rows[5]["answer"] = ""
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[1:4]))
    return tmp_path


def test_what_is_too_long_is_left_out_and_told_of(folder: pathlib.Path):
    everything, found = gathered(folder, 0), gathered(folder, 60)
    assert len(everything.first) + len(everything.held_out) == 39
    assert len(everything.test) == len(found.test) == 3
    short = {p.id for p in everything.seen if "Think" not in p.question}
    assert {p.id for p in found.seen} == short
    assert {p.id for p in found.train(1)} == {p.id for p in found.first}
    flaws = [flaw for split in ("train", "development") for flaw in found.flaws.get(split, ())]
    assert [flaw.kind for flaw in flaws].count("too long") == 5
    assert ("no answer", 6) in [(flaw.kind, flaw.line) for flaw in flaws]


def test_lengths_are_those_of_the_prompt_with_its_hint(folder: pathlib.Path):
    found = gathered(folder, 0)
    for problem in found.seen:
        prompt = found.prompter.task.prompt(problem, hint=True)
        assert found.prompter.length(problem) == 1 + len(prompt.encode())


def test_too_many_too_long_ones_end_the_run_before_it_begins(folder: pathlib.Path):
    with pytest.raises(DataError, match="\n  too long: .* tokens, room for 60"):
        gathered(folder, 60, bad=0.05)


def test_the_report_counts_and_names_lines(folder: pathlib.Path):
    report = gathered(folder, 60).report()
    assert sum(report["problems"].values()) == 37
    assert [6, "no answer"] in [flaw[:2] for flaws in report["left_out"].values() for flaw in flaws]
    assert json.loads(json.dumps(report)) == report
