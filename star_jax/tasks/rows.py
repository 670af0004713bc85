"""Rows of a data set, from a file, a folder, TFDS or the hub, with what is wrong with them.

A task calls `problems`, which reads the rows and converts each. A bad row is left out and told of,
with its line; too many of them are an error.
"""

import collections
import contextlib
import json
import math
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from etils import epath

from star_jax.tasks import splits
from star_jax.tasks.task import Problem

_SHOWN = 10  # flaws in the message of an error
_FORMS = "a .jsonl file, a folder with train.jsonl, tfds:NAME or hf:OWNER/NAME"


class DataError(ValueError):
    """The data cannot be used. The message says where, why, and what to do."""


@dataclass(frozen=True)
class Row:
    """One row of a data set.

    Attributes:
        line: its number, from 1; in a file, the line's.
        values: field -> value, as JSON has it: text, numbers, lists and dicts.
    """

    line: int
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Flaw:
    """Why a row was left out.

    Attributes:
        line: of the row.
        kind: "encoding", "not JSON", "no question", "duplicate", "no answer", "bad answer",
            "too long" or "to be tested on".
        detail: what was found there.
    """

    line: int
    kind: str
    detail: str


def read(data: str, split: str, *fields: str) -> tuple[list[Row], list[Flaw]]:
    """The rows of one split, and the flaws of those that cannot be read.

    A split that is not there has no rows, except "train", which must be. Empty lines are no rows.

    Args:
        data: where it is, one of
            a file, something.jsonl, which has "train" only;
            a folder with a file <split>.jsonl for each split;
            "tfds:NAME" or "tfds:NAME@FOLDER": TensorFlow Datasets, in its own folder or this one,
                downloaded if it is not there;
            "hf:OWNER/NAME" or "hf:OWNER/NAME:CONFIG": the Hugging Face hub, by package datasets.
        split: "train", "validation" or "test".
        *fields: what the first row must have; "question.stem" is a field in a field.

    Raises:
        DataError: there is no such data, or the first row lacks a field.
    """
    where, kind = _where(data, split), data.partition(":")[0]
    values = _SOURCES[kind](data, split) if kind in _SOURCES else _file(data, split)
    found = [_row(line, value) for line, value in enumerate(values, 1) if value != b""]
    rows = [row for row in found if isinstance(row, Row)]
    if split == "train" and not found:
        raise DataError(f"{where}: it holds no rows; give {_FORMS}")
    for name in fields if rows else ():
        if not _has(rows[0].values, name):
            names = ", ".join(f'"{field}"' for field in rows[0].values)
            raise DataError(
                f'{where} line {rows[0].line}: no "{name}"; its fields are {names}. '
                "Is this the data that task.name is for? A task jsonl takes other names of fields"
            )
    return rows, [flaw for flaw in found if isinstance(flaw, Flaw)]


def audit(where: str, total: int, flaws: list[Flaw], bad: float) -> None:
    """Refuses a split with too many bad rows.

    Args:
        where: the split's name in the message, such as "gsm8k/train.jsonl".
        total: number of rows, the bad ones included.
        flaws: one for each bad row.
        bad: largest share of bad rows that is let pass.

    Raises:
        DataError: the share is larger. The message counts the kinds and shows the first ten.
    """
    if len(flaws) <= bad * total:
        return
    kinds = collections.Counter(flaw.kind for flaw in flaws).most_common()
    lines = [
        f"  {f'line {flaw.line}: ' if flaw.line else ''}{flaw.kind}: {flaw.detail}"
        for flaw in flaws[:_SHOWN]
    ]
    if len(flaws) > _SHOWN:
        lines.append(f"  and {len(flaws) - _SHOWN} more")
    enough = math.ceil(len(flaws) / total * 1000) / 1000
    raise DataError(
        f"{where}: {len(flaws)} of {total} rows cannot be used "
        f"({', '.join(f'{count} {kind}' for kind, count in kinds)}); "
        f"task.bad = {bad:g} lets at most {int(bad * total)} pass:\n"
        + "\n".join(lines)
        + f"\nMend or delete them, or set task.bad = {enough:g} to go on without them."
    )


def problems(
    data: str,
    split: str,
    convert: Callable[[Row], Problem | Flaw],
    bad: float,
    *fields: str,
) -> tuple[list[Problem], list[Flaw]]:
    """The problems of one split: `read`, `convert` each row, drop duplicates, `audit`.

    A row whose question, spaces aside, or whose id an earlier row has already is a duplicate.

    Args:
        data: see `read`.
        split: see `read`.
        convert: makes a problem of a row, or says what is wrong with it.
        bad: see `audit`.
        *fields: see `read`.

    Returns: the problems in the order of the rows, and the flaws by line.

    Raises:
        DataError: see `read` and `audit`.
    """
    rows, flaws = read(data, split, *fields)
    found: list[Problem] = []
    first: dict[tuple[str, ...], int] = {}  # question and choices -> line
    ids: dict[str, int] = {}  # id -> line
    total = len(rows) + len(flaws)
    for row in rows:
        problem = convert(row)
        if isinstance(problem, Problem):
            line, same = first.setdefault(splits.asked(problem), row.line), "question"
            if line == row.line:
                line, same = ids.setdefault(problem.id, row.line), "id"
            if line == row.line:
                found.append(problem)
                continue
            problem = Flaw(row.line, "duplicate", f"the {same} of line {line}")
        flaws.append(problem)
    flaws.sort(key=lambda flaw: flaw.line)
    audit(_where(data, split), total, flaws, bad)
    return found, flaws


def _where(data: str, split: str) -> str:
    """What messages call a split."""
    if data.partition(":")[0] in _SOURCES:
        return f"{data}, {split}"
    return data if data.endswith(".jsonl") else os.path.join(data, f"{split}.jsonl")


def _has(values: Any, name: str) -> bool:
    if not isinstance(values, Mapping):
        return False
    outer, _, inner = name.partition(".")
    return name in values or bool(inner) and _has(values.get(outer), inner)


def _row(line: int, value: bytes | Mapping[str, Any]) -> Row | Flaw:
    """The row in one line of JSON, or made of the values that a library gave."""
    try:
        values = json.loads(value.decode()) if isinstance(value, bytes) else _native(value)
        json.dumps(
            values, ensure_ascii=False, default=str
        ).encode()  # half a surrogate pair is no text
    except UnicodeError as error:
        return Flaw(line, "encoding", f"not UTF-8: {error}")
    except (ValueError, RecursionError) as error:
        return Flaw(line, "not JSON", str(error))
    if not isinstance(values, dict):
        return Flaw(line, "not JSON", f"not an object but {str(values)[:40]!r}")
    return Row(line, values)


def _file(data: str, split: str) -> list[bytes]:
    """The lines of a split's file, without the white space around them."""
    if not data:
        raise DataError(f"task.data is empty: this task needs it. Give {_FORMS}")
    path = epath.Path(_where(data, split))
    if split != "train" and (data.endswith(".jsonl") or not path.exists()):
        return []
    try:
        text = path.read_bytes().removeprefix(b"\xef\xbb\xbf")  # a byte order mark
    except OSError as error:
        raise DataError(f"task.data = {data!r}: no file {path} to read. Give {_FORMS}") from error
    return [line.strip() for line in text.split(b"\n")]


def _tfds(data: str, split: str) -> list[Mapping[str, Any]]:
    """The rows of a split of TensorFlow Datasets, in its own fixed order; without TensorFlow."""
    name, _, folder = data.removeprefix("tfds:").partition("@")
    with _explained(data), _quiet():
        import tensorflow_datasets as tfds
        import tensorflow_datasets.text  # some data sets, gsm8k one, are only then known

        form = {
            "file_format": "array_record"
        }  # the one that needs no TensorFlow, if it is made now
        found = tfds.data_source(name, data_dir=folder or None, builder_kwargs=form)
        return _pick(data, split, found)


def _hub(data: str, split: str) -> list[Mapping[str, Any]]:
    """The rows of a split on the Hugging Face hub."""
    name, _, config = data.removeprefix("hf:").partition(":")
    with _explained(data):
        import datasets  # pyright: ignore[reportMissingImports]  (optional)

        return _pick(data, split, datasets.load_dataset(name, config or None))


_SOURCES: dict[str, Callable[[str, str], list[Mapping[str, Any]]]] = {
    "tfds": _tfds,
    "hf": _hub,
}


def _pick(data: str, split: str, splits: Any) -> list[Mapping[str, Any]]:
    """The rows of one of `splits` (a mapping), none if it is not there."""
    if split in splits:
        return list(splits[split])
    if split == "train":
        raise DataError(f"task.data = {data!r}: no split train; it has {', '.join(splits)}")
    return []


@contextlib.contextmanager
def _explained(data: str) -> Iterator[None]:
    """Says what to do about whatever goes wrong in a library that downloads."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name:
            raise DataError(f"task.data = {data!r}: pip install {error.name}") from error
        raise DataError(
            f"task.data = {data!r}: {str(error).partition(chr(10))[0]} ({type(error).__name__}). "
            "Check the name. Without a network, download the files where there is one, and give "
            "task.data the folder with train.jsonl"
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the warnings of TFDS, about TensorFlow and half-made folders, from the user."""
    from absl import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)


def _native(value: Any) -> Any:
    """Bytes as text and NumPy's values as Python's, however deep."""
    if isinstance(value, Mapping):
        return {name: _native(inner) for name, inner in value.items()}
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, list | tuple):
        return [_native(inner) for inner in value]
    return _native(value.tolist()) if isinstance(value, np.ndarray | np.generic) else value
