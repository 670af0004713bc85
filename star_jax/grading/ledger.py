"""The ledger: samples as JSON lines, each with its grade and the reason why it was dropped."""

import dataclasses
import json
import os
import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal, get_args, get_origin, get_type_hints

from etils import epath

from star_jax.data.sample import Reason, Sample
from star_jax.grading.grade import Rule, Verdict, grade
from star_jax.storage import files
from star_jax.tasks.task import Problem, Task

_KEPT = "kept.jsonl"
_FIELDS = get_type_hints(Sample)  # field -> the type its value must have in a stored line


def make_sample(
    task: Task,
    problem: Problem,
    round: int,
    hint: bool,
    completion: str,
    *,
    truncated: bool,
    tokens: int,
    direct: bool = False,
    rule: Rule = "exact",
    drop_leaks: bool = False,
) -> Sample:
    """Returns the ledger's line for one completion of `problem`.

    The arguments are those of `grade` and the fields of `Sample`. With `drop_leaks`, a rationale
    that reveals its hint is not kept.
    """
    verdict = grade(task, problem, completion, truncated=truncated, direct=direct, rule=rule)
    completion, truncated = verdict.completion, verdict.truncated
    leaks = task.leaks(problem, completion) if hint else []
    leaking = drop_leaks and bool(leaks)
    return Sample(
        id=problem.id,
        round=round,
        group=problem.group,
        hint=hint,
        question=problem.question,
        choices=list(problem.choices),
        prompt=task.prompt(problem, hint),
        completion=completion,
        predicted=verdict.predicted,
        answer=problem.answer,
        correct=verdict.correct,
        exact=verdict.exact,
        flexible=verdict.flexible,
        truncated=truncated,
        leaks=leaks,
        kept=verdict.correct and not leaking,
        reason=_reason(verdict, truncated, leaking),
        wrong_step=task.wrong_step(problem, completion),
        tokens=tokens,
    )


def _reason(verdict: Verdict, truncated: bool, leaking: bool) -> Reason:
    if verdict.correct:
        return "hint leak" if leaking else "kept"
    if truncated:
        return "truncated"
    return "no answer" if verdict.predicted is None else "wrong answer"


def failures(samples: Iterable[Sample]) -> list[Sample]:
    """The samples to rationalize (Algorithm 1, line 4): those that are not correct."""
    return [sample for sample in samples if not sample.correct]


def filter_samples(samples: Sequence[Sample], rationalized: Sequence[Sample]) -> list[Sample]:
    """Returns the samples that the round trains on: Algorithm 1's filter (lines 5 and 6).

    These are the kept ones of `samples`, then the kept ones of `rationalized` whose first attempt
    in `samples` failed. A rationalized sample is stored as if there had been no hint, with the
    prompt of the first attempt. Its field `hint` still says where it came from.

    Raises:
        ValueError: two samples have one id, or a rationalized one has no first attempt.
    """
    first = _by_id(samples)
    for sample in _by_id(rationalized).values():
        if sample.id not in first:
            raise ValueError(
                f"rationalized sample {sample.id!r} has no sample without the hint in this round: "
                "the two files are of different runs"
            )
    return [sample for sample in samples if sample.kept] + [
        dataclasses.replace(sample, prompt=first[sample.id].prompt)
        for sample in rationalized
        if sample.kept and not first[sample.id].correct
    ]


def _by_id(samples: Sequence[Sample]) -> dict[str, Sample]:
    by_id: dict[str, Sample] = {}
    for sample in samples:
        if sample.id in by_id:
            raise ValueError(
                f"two samples of one round have the id {sample.id!r}: the task's ids must be unique"
            )
        by_id[sample.id] = sample
    return by_id


def write_shard(
    folder: epath.PathLike, phase: str, index: int, samples: Sequence[Sample]
) -> epath.Path:
    """Writes folder/<phase>-<index>.jsonl in one piece; returns its path. `index` is from 0."""
    path = _shard(folder, phase, index)
    _write(path, samples)
    return path


def write_part(
    folder: epath.PathLike, phase: str, index: int, process: int, samples: Sequence[Sample]
) -> None:
    """Writes the samples of a shard that one of several processes has graded."""
    _write(files.part(_shard(folder, phase, index), process), samples)


def join_parts(
    folder: epath.PathLike, phase: str, index: int, owners: Sequence[int]
) -> list[Sample]:
    """Joins the parts of a shard, writes the shard as `write_shard` does, and removes the parts.

    Args:
        folder: folder of the round.
        phase: name of the shard's phase; see `star/phase.py`.
        index: index of the shard.
        owners: process in whose part each sample is, in the samples' order.

    Returns:
        The samples of the shard.

    Raises:
        FileNotFoundError: a part is missing.
    """
    path = _shard(folder, phase, index)
    parts = {owner: files.part(path, owner) for owner in sorted(set(owners))}
    if missing := [part for part in parts.values() if not part.exists()]:
        raise FileNotFoundError(
            f"{os.fspath(missing[0])} is missing, though its process has written it: all processes "
            "must share --workdir, on a filesystem that shows at once what another has written"
        )
    readers = {owner: iter(_read(part)) for owner, part in parts.items()}
    samples = [next(readers[owner]) for owner in owners]
    _write(path, samples)
    for part in parts.values():
        part.unlink()
    return samples


def shard_count(folder: epath.PathLike, phase: str) -> int:
    """Returns the number of shards written so far, which is the index of the next.

    Raises:
        FileNotFoundError: a shard is missing before the last.
    """
    folder = epath.Path(folder)
    pattern = re.compile(rf"{phase}-(\d{{5,}})\.jsonl")
    names = (path.name for path in folder.iterdir()) if folder.exists() else ()
    indices = {int(match[1]) for name in names if (match := pattern.fullmatch(name))}
    for index in range(len(indices)):
        if index not in indices:
            raise FileNotFoundError(
                f"{os.fspath(folder / f'{phase}-{index:05d}.jsonl')} is missing though later ones "
                "are there: restore it, or delete the round's folder to do the round again"
            )
    return len(indices)


def read_shards(folder: epath.PathLike, phase: str) -> list[Sample]:
    """Reads the samples of all shards, in the order they were written; [] if there are none.

    Raises:
        FileNotFoundError: a shard is missing before the last.
        ValueError: a line is torn or wrong; the message names file, line and field.
    """
    shards = range(shard_count(folder, phase))
    paths = (epath.Path(folder) / f"{phase}-{index:05d}.jsonl" for index in shards)
    return [sample for path in paths for sample in _read(path)]


def _shard(folder: epath.PathLike, phase: str, index: int) -> epath.Path:
    return epath.Path(folder) / f"{phase}-{index:05d}.jsonl"


def write_kept(folder: epath.PathLike, samples: Sequence[Sample]) -> None:
    """Writes folder/kept.jsonl in one piece: the samples from `filter_samples`."""
    _write(epath.Path(folder) / _KEPT, samples)


def read_kept(folder: epath.PathLike) -> list[Sample]:
    """Reads the samples of folder/kept.jsonl.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line is torn or wrong; the message names file, line and field.
    """
    return _read(epath.Path(folder) / _KEPT)


def _write(path: epath.Path, samples: Sequence[Sample]) -> None:
    # json escapes everything but ASCII, so no character of a completion can end a line early.
    lines = [json.dumps(dataclasses.asdict(sample)) + "\n" for sample in samples]
    files.write_atomic(path, "".join(lines))


def _read(path: epath.Path) -> list[Sample]:
    *lines, rest = path.read_bytes().split(b"\n")
    if rest:
        raise _damaged(path, len(lines) + 1, "torn, it has no end")
    return [_parse(path, number, line) for number, line in enumerate(lines, 1)]


def _parse(path: epath.Path, number: int, line: bytes) -> Sample:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise _damaged(path, number, f"torn, or not JSON ({error})") from error
    if not isinstance(record, dict):
        raise _damaged(path, number, f"not an object but {record!r}")
    for name in record.keys() - _FIELDS.keys():
        raise _damaged(path, number, f"unknown field {name!r}")
    for name, expected in _FIELDS.items():
        if name not in record:
            raise _damaged(path, number, f"no {name!r}")
        if not _fits(record[name], expected):
            kind = expected.__name__ if isinstance(expected, type) else expected
            raise _damaged(path, number, f"{name!r} is {record[name]!r}, must be {kind}")
    return Sample(**record)


def _fits(value: Any, expected: Any) -> bool:
    if get_origin(expected) is Literal:
        return value in get_args(expected)
    if get_origin(expected) is list:
        return isinstance(value, list) and all(_fits(x, get_args(expected)[0]) for x in value)
    return type(value) in (get_args(expected) or (expected,))


def _damaged(path: epath.Path, number: int, what: str) -> ValueError:
    return ValueError(
        f"{os.fspath(path)} line {number}: {what}; delete the round's folder to do the round again"
    )
