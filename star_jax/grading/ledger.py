"""The ledger: samples as JSON lines, each with its grade and the reason why it was dropped.

A field at its default is left out of a line, so older ledgers can be read.
"""

import dataclasses
import json
import os
import re
from collections.abc import Callable, Sequence
from typing import Any, get_type_hints

from etils import epath

from star_jax.data.sample import Sample
from star_jax.storage import files, json_lines

_KEPT = "kept.jsonl"
_FIELDS = get_type_hints(Sample)  # field -> the type its value must have in a stored line
_DEFAULTS = {
    field.name: field.default
    for field in dataclasses.fields(Sample)
    if field.default is not dataclasses.MISSING
}


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
    folder: epath.PathLike,
    phase: str,
    index: int,
    owners: Sequence[int],
    judge: Callable[[list[Sample]], list[Sample]] = list,
) -> list[Sample]:
    """Joins the parts of a shard, writes the shard as `write_shard` does, and removes the parts.

    Args:
        folder: folder of the round.
        phase: name of the shard's phase; see `star/phase.py`.
        index: index of the shard.
        owners: process in whose part each sample is, in the samples' order.
        judge: function that judges all samples of the shard together, before they are written.

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
    samples = judge([next(readers[owner]) for owner in owners])
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
    """Writes folder/kept.jsonl in one piece: the samples from `filtering.filter_samples`."""
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
    lines = [json.dumps(_record(sample)) + "\n" for sample in samples]
    files.write_atomic(path, "".join(lines))


def _record(sample: Sample) -> dict[str, Any]:
    """Returns the fields of a line: all that have no default, and others unless they are at it."""
    record = dataclasses.asdict(sample)
    return {k: v for k, v in record.items() if k not in _DEFAULTS or v != _DEFAULTS[k]}


def _read(path: epath.Path) -> list[Sample]:
    remedy = "delete the round's folder to do the round again"
    return [Sample(**record) for record in json_lines.read(path, _FIELDS, remedy, _DEFAULTS)]
