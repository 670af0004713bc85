"""The file of a round's leak scores: written whole, read back, and checked."""

import json
import pathlib
from typing import Any

import pytest

from samples import gold
from star_jax.data.sample import Sample
from star_jax.grading import leak_scores
from star_jax.grading.leak_scores import FILE, LeakScore
from star_jax.tasks.arithmetic import Arithmetic

TASK = Arithmetic(max_digits=2, ood_digits=0)
SCORES = [LeakScore(0.25, 3.5), LeakScore(-0.5, 0.0), LeakScore(1e-7, 2.0)]


def samples(count: int = 3) -> list[Sample]:
    """Right rationalizations of as many problems."""
    return [gold(TASK, problem) for problem in TASK.train(0, 1, count)]


def test_what_is_written_is_read(tmp_path: pathlib.Path):
    leak_scores.write(tmp_path / "0001", samples(), SCORES)
    assert leak_scores.of_samples(tmp_path / "0001", samples()) == SCORES
    found = leak_scores.read(tmp_path / "0001")
    assert found == dict(zip(map(leak_scores.key, samples()), SCORES, strict=True))
    assert [path.name for path in (tmp_path / "0001").iterdir()] == [FILE]
    first = (tmp_path / "0001" / FILE).read_text().splitlines()[0]
    assert json.loads(first) == {"id": samples()[0].id, "sample": 0, "mean": 0.25, "worst": 3.5}


def test_no_rationalization_is_a_file_without_a_line(tmp_path: pathlib.Path):
    leak_scores.write(tmp_path, [], [])
    assert leak_scores.of_samples(tmp_path, []) == []


def test_what_is_no_number_is_not_written(tmp_path: pathlib.Path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        leak_scores.write(tmp_path, samples(1), [LeakScore(float("nan"), 0.0)])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("other", [[0, 1], [0, 1, 2, 3], [1, 0, 2]])
def test_scores_of_other_samples_are_refused(tmp_path: pathlib.Path, other: list[int]):
    leak_scores.write(tmp_path, samples(), SCORES)
    four = samples(4)
    with pytest.raises(ValueError, match=r"its 3 scores are not of the round's . rationalizations"):
        leak_scores.of_samples(tmp_path, [four[index] for index in other])


def test_without_a_file_there_are_no_scores(tmp_path: pathlib.Path):
    with pytest.raises(FileNotFoundError, match=FILE):
        leak_scores.read(tmp_path)


GOOD = {"id": "a", "sample": 0, "mean": 0.5, "worst": 1.0}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "torn, or not JSON"),
        ("[1]", r"not an object but \[1\]"),
        (GOOD | {"more": 1}, "unknown field 'more'"),
        ({"id": "a", "sample": 0, "mean": 0.5}, "no 'worst'"),
        (GOOD | {"id": 3}, "'id' is 3, must be str"),
        (GOOD | {"sample": True}, "'sample' is True, must be int"),
        (GOOD | {"mean": 1}, "'mean' is 1, must be a finite float"),
        (GOOD | {"worst": float("inf")}, "'worst' is inf, must be a finite float"),
        (GOOD | {"id": "first"}, "a second score of sample 0 of 'first'"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: pathlib.Path, line: str | dict[str, Any], says: str):
    text = line if isinstance(line, str) else json.dumps(line)
    (tmp_path / FILE).write_text(f"{json.dumps(GOOD | {'id': 'first'})}\n{text}\n")
    with pytest.raises(ValueError, match=rf"{FILE} line 2: {says}.*; delete it to score again"):
        leak_scores.read(tmp_path)


def test_a_torn_end_is_named(tmp_path: pathlib.Path):
    (tmp_path / FILE).write_text(json.dumps(GOOD))
    with pytest.raises(ValueError, match="line 1: torn, it has no end"):
        leak_scores.read(tmp_path)
