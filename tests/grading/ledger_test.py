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

from star_jax.grading import ledger
from tests.support.samples import sample

KINDS: tuple[str, ...] = ("samples", "rationalized", "evaluation", "hinted")


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
