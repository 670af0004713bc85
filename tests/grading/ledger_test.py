import dataclasses
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from star_jax.data.sample import Sample
from star_jax.grading import ledger
from star_jax.tasks.arithmetic import Arithmetic

TASK = Arithmetic()
PROBLEM = TASK.train(seed=0, round=1, count=3)[2]
GOLD = TASK.completion(PROBLEM.rationale, PROBLEM.answer)
GUESSED = f"<scratch>\n</scratch>\n{TASK.direct(PROBLEM)}"
KINDS: tuple[str, ...] = ("samples", "rationalized", "evaluation", "hinted")


def sample(id: str, *, correct: bool, hint: bool = False, **fields: Any) -> Sample:
    base = Sample(
        id=id,
        round=1,
        group="2",
        hint=hint,
        question=f"question {id}",
        choices=[],
        prompt=f"prompt {id}" + " with the hint" * hint,
        completion="rationale",
        predicted="1",
        answer="1" if correct else "2",
        correct=correct,
        exact=correct,
        flexible=correct,
        truncated=False,
        leaks=[],
        kept=correct,
        reason="kept" if correct else "wrong answer",
        wrong_step=False,
        tokens=7,
    )
    return dataclasses.replace(base, **fields)


@pytest.mark.parametrize(
    ("completion", "truncated", "reason", "wrong_step"),
    [
        (GOLD, False, "kept", False),
        (GUESSED, False, "kept", True),  # right for the wrong reason: the filter cannot tell
        (GOLD + " 0", False, "wrong answer", False),
        (PROBLEM.rationale, False, "no answer", False),
        ("", False, "no answer", None),
        (GOLD, True, "truncated", False),
        (GOLD[:-2], True, "truncated", False),
        (GOLD[:30], True, "truncated", True),
    ],
)
@pytest.mark.parametrize("hint", [False, True])
def test_grade(completion: str, truncated: bool, reason: str, wrong_step: bool | None, hint: bool):
    graded = ledger.make_sample(TASK, PROBLEM, 3, hint, completion, truncated=truncated, tokens=11)
    kept = reason == "kept"
    assert (graded.reason, graded.kept, graded.correct) == (reason, kept, kept)
    assert (graded.wrong_step, graded.truncated, graded.tokens) == (wrong_step, truncated, 11)
    assert (graded.id, graded.group, graded.round) == (PROBLEM.id, PROBLEM.group, 3)
    assert (graded.question, graded.answer) == (PROBLEM.question, PROBLEM.answer)
    assert (graded.hint, graded.prompt) == (hint, TASK.prompt(PROBLEM, hint))
    assert (graded.completion, graded.predicted) == (completion, TASK.answer(completion))


@pytest.mark.parametrize("truncated", [False, True])
@pytest.mark.parametrize("hint", [False, True])
def test_what_follows_the_answer_is_not_part_of_the_sample(truncated: bool, hint: bool):
    """Wherever the budget ends what goes on, the completion has come to its end before."""
    more = "\nInput:\n1 + 1\nTarget:\n<scratch>\n1 + 1 , C: 0\n, 3 C: 0\n0 3\n</scratch>\n3"
    graded = ledger.make_sample(TASK, PROBLEM, 1, hint, GOLD + more, truncated=truncated, tokens=99)
    assert (graded.completion, graded.kept, graded.truncated) == (GOLD, True, False)
    assert (graded.wrong_step, graded.tokens) == (False, 99)


@pytest.mark.parametrize(
    ("completion", "truncated", "reason"),
    [
        (TASK.direct(PROBLEM), False, "kept"),
        (TASK.direct(PROBLEM), True, "truncated"),
        (TASK.direct(PROBLEM) + "\nInput:\n1 + 1", False, "kept"),
        (TASK.direct(PROBLEM) + "\nInput:\n1 + 1", True, "kept"),
        (TASK.direct(PROBLEM) + " 0", False, "wrong answer"),
        (GOLD, False, "no answer"),  # asked for the answer alone
    ],
)
def test_grade_of_a_direct_answer(completion: str, truncated: bool, reason: str):
    graded = ledger.make_sample(
        TASK, PROBLEM, 1, False, completion, truncated=truncated, tokens=3, direct=True
    )
    assert (graded.reason, graded.kept) == (reason, reason == "kept")


RIGHT, WRONG = {"correct": True}, {"correct": False}
# what a right answer turns into where it ran into the budget
CUT_OFF = {"correct": False, "truncated": True, "reason": "truncated"}


@pytest.mark.parametrize(
    ("first", "second", "kept_from"),
    [
        (RIGHT, None, "first"),
        (WRONG, None, None),
        (CUT_OFF, None, None),
        (WRONG, RIGHT, "second"),
        (WRONG, WRONG, None),
        (WRONG, CUT_OFF, None),
        (CUT_OFF, RIGHT, "second"),
        (RIGHT, RIGHT, "first"),
        (RIGHT, WRONG, "first"),
    ],
)
def test_filter_of_algorithm_1(
    first: dict[str, Any], second: dict[str, Any] | None, kept_from: str | None
):
    samples = [sample("x", **first)]
    hinted = [] if second is None else [sample("x", hint=True, **second)]
    kept = ledger.filter_samples(samples, hinted)
    assert [s.hint for s in kept] == {"first": [False], "second": [True], None: []}[kept_from]


def test_what_is_kept_from_the_hint_is_stored_without_it():
    hinted = sample("x", correct=True, hint=True, completion="the better rationale")
    (kept,) = ledger.filter_samples([sample("x", correct=False)], [hinted])
    assert kept == dataclasses.replace(hinted, prompt="prompt x")
    assert kept.hint  # where it came from is not forgotten


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=12))
def test_every_right_problem_is_kept_once(outcomes: list[tuple[bool, bool]]):
    samples = [sample(str(i), correct=first) for i, (first, _) in enumerate(outcomes)]
    hinted = [
        sample(s.id, correct=outcomes[int(s.id)][1], hint=True) for s in ledger.failures(samples)
    ]
    kept = ledger.filter_samples(samples, hinted)
    assert sorted(int(s.id) for s in kept) == [i for i, pair in enumerate(outcomes) if any(pair)]
    assert [s.hint for s in kept] == sorted(s.hint for s in kept)


def test_failures_are_what_was_not_right():
    samples = [sample("a", **RIGHT), sample("b", **WRONG), sample("c", **CUT_OFF)]
    assert [s.id for s in ledger.failures(samples)] == ["b", "c"]


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (["x", "x"], [], "two samples of one round have the id 'x'"),
        (["x"], ["x", "x"], "two samples of one round have the id 'x'"),
        (["x"], ["y"], "rationalized sample 'y' has no sample without the hint"),
    ],
)
def test_a_ledger_that_does_not_add_up_is_refused(
    first: list[str], second: list[str], message: str
):
    with pytest.raises(ValueError, match=message):
        ledger.filter_samples(
            [sample(id, correct=False) for id in first],
            [sample(id, correct=True, hint=True) for id in second],
        )


# a generated completion holds any character at all, those that end lines included
TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@settings(deadline=None)
@given(st.lists(st.tuples(TEXT, st.none() | TEXT, st.none() | st.booleans()), max_size=5))
def test_samples_survive_the_round_trip(
    tmp_path_factory: pytest.TempPathFactory, fields: list[tuple[str, str | None, bool | None]]
):
    folder = tmp_path_factory.mktemp("round")
    samples = [
        sample(str(i), correct=False, completion=text, predicted=predicted, wrong_step=wrong)
        for i, (text, predicted, wrong) in enumerate(fields)
    ]
    ledger.write_kept(folder, samples)
    assert ledger.read_kept(folder) == samples
    ledger.write_shard(folder, "samples", 0, samples)
    assert ledger.read_shards(folder, "samples") == samples


def test_shards_are_read_in_the_order_they_were_written(tmp_path: Path):
    for index in range(12):
        for kind in KINDS:
            found = sample(f"{kind} {index}", correct=True)
            path = ledger.write_shard(tmp_path, kind, index, [found] * (index % 3))
            assert path.name == f"{kind}-{index:05d}.jsonl"
    for kind in KINDS:
        expected = [f"{kind} {index}" for index in range(12) for _ in range(index % 3)]
        assert [s.id for s in ledger.read_shards(tmp_path, kind)] == expected
        assert ledger.shard_count(tmp_path, kind) == 12


def test_parts_of_several_processes_become_the_shard_that_one_would_write(tmp_path: Path):
    owners = [0, 0, 3, 3, 1, 0, 3]  # process 2 has no row of this chunk
    samples = [sample("twice", correct=bool(number % 2)) for number in range(len(owners))]
    for process in (0, 1, 3):
        mine = [one for one, owner in zip(samples, owners, strict=True) if owner == process]
        ledger.write_part(tmp_path, "samples", 7, process, mine)
    alone = ledger.write_shard(tmp_path / "alone", "samples", 7, samples)
    assert ledger.shard_count(tmp_path, "samples") == 0  # parts are none
    assert ledger.join_parts(tmp_path, "samples", 7, owners) == samples
    (joined,) = tmp_path.glob("*.jsonl*")
    assert (joined.name, joined.read_bytes()) == (alone.name, alone.read_bytes())
    with pytest.raises(
        FileNotFoundError, match=r"samples-00007.jsonl.tmp-0-part is missing.*must share"
    ):
        ledger.join_parts(tmp_path, "samples", 7, owners)


@pytest.mark.parametrize("folder", [".", "not there"])
def test_no_shards_are_no_samples(tmp_path: Path, folder: str):
    assert ledger.read_shards(tmp_path / folder, "samples") == []
    assert ledger.shard_count(tmp_path / folder, "samples") == 0


def test_a_part_is_no_file_that_process_0_is_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(os, "getpid", lambda: 1)  # as in a container
    samples = [sample("a", correct=True), sample("b", correct=False)]
    for process, one in enumerate(samples):
        ledger.write_part(tmp_path, "samples", 0, process, [one])
    assert ledger.join_parts(tmp_path, "samples", 0, [0, 1]) == samples


def test_what_a_killed_writer_leaves_is_no_shard(tmp_path: Path):
    ledger.write_shard(tmp_path, "samples", 0, [sample("x", correct=True)])
    (tmp_path / "samples-00001.jsonl.tmp-123").write_text('{"id": "y')
    assert [s.id for s in ledger.read_shards(tmp_path, "samples")] == ["x"]


@pytest.mark.parametrize("missing", [0, 1])
def test_a_gap_names_the_missing_file(tmp_path: Path, missing: int):
    for index in range(3):
        ledger.write_shard(tmp_path, "samples", index, [])
    (tmp_path / f"samples-0000{missing}.jsonl").unlink()
    path = re.escape(str(tmp_path / f"samples-0000{missing}.jsonl"))
    with pytest.raises(FileNotFoundError, match=f"{path} is missing"):
        ledger.read_shards(tmp_path, "samples")


def _changed(change: Callable[[dict[str, Any]], Any]) -> bytes:
    record = dataclasses.asdict(sample("y", correct=True))
    change(record)
    return json.dumps(record).encode() + b"\n"


WHOLE = _changed(lambda record: None)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (WHOLE[:50], "torn"),
        (WHOLE[:-1], "torn"),  # reads well, but nobody knows what it was going to be
        (WHOLE[:50] + b"\n", "torn, or not JSON"),
        (WHOLE[50:], "torn, or not JSON"),
        (b"\n", "torn, or not JSON"),
        (b"\0" * 9 + b"\n", "torn, or not JSON"),
        (b"\xff\n", "torn, or not JSON"),
        (b"[1]\n", r"not an object but \[1\]"),
        (_changed(lambda r: r.pop("answer")), "no 'answer'"),
        (_changed(lambda r: r.update(score=1)), "unknown field 'score'"),
        (_changed(lambda r: r.update(round="1")), "'round' is '1', must be int"),
        (_changed(lambda r: r.update(tokens=1.5)), "'tokens' is 1.5"),
        (_changed(lambda r: r.update(tokens=True)), "'tokens' is True"),
        (_changed(lambda r: r.update(kept=1)), "'kept' is 1"),
        (_changed(lambda r: r.update(predicted=7)), r"'predicted' is 7, must be str \| None"),
        (_changed(lambda r: r.update(completion=None)), "'completion' is None"),
        (_changed(lambda r: r.update(reason="luck")), "'reason' is 'luck'"),
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, line: bytes, message: str):
    path = ledger.write_shard(tmp_path, "samples", 0, [sample("x", correct=True)] * 2)
    path.write_bytes(path.read_bytes() + line)
    with pytest.raises(ValueError) as raised:
        ledger.read_shards(tmp_path, "samples")
    assert str(raised.value).startswith(f"{path} line 3: ")
    assert re.search(message, str(raised.value))
