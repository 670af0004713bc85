import dataclasses
import json
import pathlib
from typing import Any

import pytest

import fakes
from star_jax.config.validation import SettingsError
from star_jax.data import problems
from star_jax.data.problems import Problems
from star_jax.data.prompts import Prompter
from star_jax.data.tokenizer import ByteTokenizer
from star_jax.tasks.jsonl import Jsonl
from star_jax.tasks.rows import DataError
from star_jax.tasks.task import Problem

TOKENIZER = ByteTokenizer()


def gathered(data: pathlib.Path, room: int, bad: float = 0.5, **task: Any) -> Problems:
    settings = fakes.tiny(
        {"task.bad": bad, "rounds.problems": 0, "evaluate.problems": 0, "task.module": "own.py"}
    )
    return problems.gather_problems(
        settings, Prompter(TOKENIZER, Jsonl(str(data), bad=bad, **task)), room
    )


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
    assert len(everything.first) + len(everything.held_out) == 36  # three are in the test set
    tested = [flaw for flaw in everything.flaws["train"] if flaw.kind == "to be tested on"]
    assert [flaw.detail for flaw in tested] == [
        f"train:{n}: the question of test's test:{n - 1}" for n in (2, 3, 4)
    ]
    assert len(everything.test) == len(found.test) == 3
    short = {p.id for p in everything.seen if "Think" not in p.question}
    assert {p.id for p in found.seen} == short
    assert {p.id for p in found.train(1)} == {p.id for p in found.first}
    flaws = [flaw for split in ("train", "development") for flaw in found.flaws.get(split, ())]
    assert [flaw.kind for flaw in flaws].count("too long") == 5
    assert ("no answer", 6) in [(flaw.kind, flaw.line) for flaw in flaws]


def test_other_problems_than_before_are_told_by_their_split(folder: pathlib.Path):
    before = json.loads(json.dumps(gathered(folder, 0).report()))
    assert problems.describe_change(before, gathered(folder, 0).report()) == ""
    assert problems.describe_change({}, before) == "", "a new run"
    counts = {"problems": before["problems"]}
    assert problems.describe_change(counts, before) == "", "of a version without hashes"
    counts["problems"] = counts["problems"] | {"train": 99}
    assert problems.describe_change(counts, before).startswith("train problems are not those")
    shown = dataclasses.replace(gathered(folder, 0).prompter, examples=gathered(folder, 0).test)
    other = dataclasses.replace(gathered(folder, 0), prompter=shown).report()
    assert problems.describe_change(before, other).startswith("few-shot problems are not those")
    rows = (folder / "test.jsonl").read_text()
    (folder / "test.jsonl").write_text(rows.replace("What is 1", "How much is 1"))
    now = gathered(folder, 0).report()
    assert problems.describe_change(before, now).startswith("train and test problems are not those")


def test_lengths_are_those_of_the_prompt_with_its_hint(folder: pathlib.Path):
    found = gathered(folder, 0)
    for problem in found.seen:
        prompt = found.prompter.task.prompt(problem, hint=True)
        assert found.prompter.length(problem) == 1 + len(prompt.encode())


def test_too_many_too_long_ones_end_the_run_before_it_begins(folder: pathlib.Path):
    with pytest.raises(
        DataError, match="\n  too long: .* tokens; sampler.max_new_tokens leaves 60 of"
    ):
        gathered(folder, 60, bad=0.05)


def test_the_report_counts_and_names_lines(folder: pathlib.Path):
    report = gathered(folder, 60).report()
    assert sum(report["problems"].values()) == 34
    assert [6, "no answer"] in [flaw[:2] for flaws in report["left_out"].values() for flaw in flaws]
    assert json.loads(json.dumps(report)) == report


@pytest.mark.parametrize(
    ("rounds", "questions", "says"),
    [
        (1, 0, "there is no problem of train and of development that can be used"),
        (0, 0, "there is no problem of train and of development"),
        (1, 3, "there is no problem of development that can be used"),
    ],
)
def test_a_run_needs_problems_to_learn_from_and_to_be_judged_by(
    tmp_path: pathlib.Path, rounds: int, questions: int, says: str
):
    class Few(Jsonl):
        def train(self, seed: int, round: int, count: int) -> list[Problem]:
            return super().train(seed, round, count)[:questions]

        def evaluation(self, seed: int, count: int, ood_count: int) -> list[Problem]:
            return []

    rows = [{"question": f"{n} + 1?", "answer": str(n + 1)} for n in range(40)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = fakes.tiny({"rounds.count": rounds})
    prompter = Prompter(TOKENIZER, Few(str(tmp_path)))
    with pytest.raises(SettingsError, match=says):
        problems.gather_problems(settings, prompter, 0)
    if questions:
        settings = fakes.tiny({"rounds.count": 0})  # what has no rounds is judged by nothing
        assert len(problems.gather_problems(settings, prompter, 0).first) == questions
