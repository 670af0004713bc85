"""Rows of a data set, from a file, a folder, TFDS or the hub, and the flaws of bad rows.

A task calls `problems`, which reads the rows and converts each. A bad row is left out and reported
with its line. Too many bad rows are an error.
"""

import collections
import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from etils import epath

from star_jax.tasks import data_files, libraries, splits, values
from star_jax.tasks.data_files import DataError
from star_jax.tasks.task import Problem

__all__ = ["DataError", "Flaw", "Row", "audit", "problems", "read"]

_LISTED = 10  # flaws in the message of an error
_FORMS = (
    "a .jsonl file (or .json, .csv, .tsv, .parquet), a folder with train.jsonl (or one of these), "
    "tfds:NAME or hf:OWNER/NAME"
)


@dataclass(frozen=True)
class Row:
    """One row of a data set.

    Attributes:
        line: number of the row, from 1; in a file, of the line.
        values: field -> value, as JSON has it: text, numbers, booleans, lists and dicts; None for
            a missing value. A number with a fraction is a `values.Number`.
    """

    line: int
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Flaw:
    """The reason why a row was left out.

    Attributes:
        line: line of the row.
        kind: "encoding", "not JSON", "no question", "duplicate", "no answer", "bad answer",
            "too long" or "to be tested on".
        detail: description of the flaw.
    """

    line: int
    kind: str
    detail: str


def read(data: str, split: str, *fields: str) -> tuple[list[Row], list[Flaw]]:
    """Reads the rows of one split, and the flaws of those that cannot be read.

    A missing split has no rows, except "train", which must exist. Empty lines are no rows.

    Args:
        data: place of the data, one of
            a file, something.jsonl, which has "train" only (or .json, a list or such lines; .csv
                and .tsv, whose first line has the fields; .parquet);
            a folder with a file <split>.jsonl for each split, or else with one of these endings;
            "tfds:NAME" or "tfds:NAME@FOLDER": TensorFlow Datasets, in its own folder or this one,
                downloaded if it is missing;
            "hf:OWNER/NAME" or "hf:OWNER/NAME:CONFIG": the Hugging Face hub, or a folder instead,
                read by package datasets.
            A path may begin with "~", the home folder.
        split: "train", "validation" or "test".
        *fields: fields that the first row must have; "question.stem" is a field in a field.

    Raises:
        DataError: there is no such data, or the first row lacks a field.
    """
    where, library = _where(data, split), libraries.SOURCES.get(data.partition(":")[0])
    lines = library(data, split) if library else _file(data, split)
    results = [_row(line, value) for line, value in enumerate(lines, 1) if value != b""]
    rows = [result for result in results if isinstance(result, Row)]
    if split == "train" and not results:
        raise DataError(f"{where}: it holds no rows; give {_FORMS}")
    for name in fields if rows else ():
        if not _has(rows[0].values, name):
            names = ", ".join(f'"{field}"' for field in rows[0].values)
            raise DataError(
                f'{where} line {rows[0].line}: no "{name}"; its fields are {names}. '
                "Is this the data that task.name is for? A task jsonl takes other names of fields"
            )
    return rows, [result for result in results if isinstance(result, Flaw)]


def audit(where: str, total: int, flaws: list[Flaw], bad: float) -> None:
    """Refuses a split with too many bad rows.

    Args:
        where: the split's name in the message, such as "gsm8k/train.jsonl".
        total: number of rows, the bad ones included.
        flaws: one for each bad row.
        bad: largest share of bad rows that is accepted.

    Raises:
        DataError: the share is larger. The message counts the kinds and lists the first ten flaws.
    """
    if len(flaws) <= bad * total:
        return
    kinds = collections.Counter(flaw.kind for flaw in flaws).most_common()
    lines = [
        f"  {f'line {flaw.line}: ' if flaw.line else ''}{flaw.kind}: {flaw.detail}"
        for flaw in flaws[:_LISTED]
    ]
    if len(flaws) > _LISTED:
        lines.append(f"  and {len(flaws) - _LISTED} more")
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
    """Reads the problems of one split: `read`, `convert` each row, drop duplicates, `audit`.

    A duplicate is a row whose question (spaces aside) or whose id an earlier row has.

    Args:
        data: place of the data, as in `read`.
        split: name of the split, as in `read`.
        convert: function of a row that returns its problem or its flaw.
        bad: largest share of bad rows, as in `audit`.
        *fields: fields of the first row, as in `read`.

    Returns:
        The problems in the order of the rows, and the flaws by line.

    Raises:
        DataError: see `read` and `audit`.
    """
    rows, flaws = read(data, split, *fields)
    problems: list[Problem] = []
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
                problems.append(problem)
                continue
            problem = Flaw(row.line, "duplicate", f"the {same} of line {line}")
        flaws.append(problem)
    flaws.sort(key=lambda flaw: flaw.line)
    audit(_where(data, split), total, flaws, bad)
    return problems, flaws


def _where(data: str, split: str) -> str:
    """Returns the name of a split in messages; for a local file or folder, its path."""
    if data.partition(":")[0] in libraries.SOURCES:
        return f"{data}, {split}"
    path = os.path.expanduser(data)
    if _is_file(data):
        return path
    files = [os.path.join(path, split + ending) for ending in data_files.READERS]
    return next((file for file in files if epath.Path(file).exists()), files[0])


def _has(values: Any, name: str) -> bool:
    if not isinstance(values, Mapping):
        return False
    outer, _, inner = name.partition(".")
    return name in values or bool(inner) and _has(values.get(outer), inner)


def _row(line: int, value: Any) -> Row | Flaw:
    """Makes a row of one line of JSON, or of the values from a file or a library."""
    try:
        if isinstance(value, ValueError):
            raise value
        fields = values.parse(value.decode()) if isinstance(value, bytes) else values.native(value)
        # Fails on half a surrogate pair.
        json.dumps(fields, ensure_ascii=False, default=str).encode()
    except UnicodeError as error:
        return Flaw(line, "encoding", f"not UTF-8: {error}")
    except (ValueError, RecursionError) as error:
        return Flaw(line, "not JSON", str(error))
    if not isinstance(fields, dict):
        return Flaw(line, "not JSON", f"not an object but {str(fields)[:40]!r}")
    return Row(line, fields)


def _file(data: str, split: str) -> list[Any]:
    """Returns the content of a split's file, in the order of its lines."""
    if not data:
        raise DataError(f"task.data is empty: this task needs it. Give {_FORMS}")
    path = epath.Path(_where(data, split))
    if split != "train" and (_is_file(data) or not path.exists()):
        return []
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"task.data = {data!r}: no file {path} to read. Give {_FORMS}") from error
    return data_files.read(os.fspath(path), content)


def _is_file(data: str) -> bool:
    return data.lower().endswith(tuple(data_files.READERS))
