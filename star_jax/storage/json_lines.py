"""Reads files of JSON lines whose fields and types are known, and names what is wrong in them."""

import json
import math
import os
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

from etils import epath


def read(
    path: epath.Path,
    fields: Mapping[str, Any],
    remedy: str,
    defaults: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Reads the records of a file, each with all of its fields.

    Args:
        path: path of the file.
        fields: field -> type of its value; a float must be finite.
        remedy: what to do about a damaged file, for the message.
        defaults: values of the fields that a line may leave out.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line is torn or wrong; the message names file, line and field.
    """
    *lines, rest = path.read_bytes().split(b"\n")
    if rest:
        raise damaged(path, len(lines) + 1, "torn, it has no end", remedy)
    records = []
    for number, line in enumerate(lines, 1):
        try:
            records.append(_parse(line, fields, defaults or {}))
        except ValueError as error:
            raise damaged(path, number, str(error), remedy) from error
    return records


def damaged(path: epath.Path, number: int, what: str, remedy: str) -> ValueError:
    """Returns the error of line `number` of a file."""
    return ValueError(f"{os.fspath(path)} line {number}: {what}; {remedy}")


def _parse(line: bytes, fields: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise ValueError(f"torn, or not JSON ({error})") from error
    if not isinstance(record, dict):
        raise ValueError(f"not an object but {record!r}")
    for name in record.keys() - fields.keys():
        raise ValueError(f"unknown field {name!r}")
    record = {**defaults, **record}
    for name, expected in fields.items():
        if name not in record:
            raise ValueError(f"no {name!r}")
        if not _fits(record[name], expected):
            kind = expected.__name__ if isinstance(expected, type) else expected
            kind = "a finite float" if expected is float else kind
            raise ValueError(f"{name!r} is {record[name]!r}, must be {kind}")
    return record


def _fits(value: Any, expected: Any) -> bool:
    if get_origin(expected) is Literal:
        return value in get_args(expected)
    if get_origin(expected) is list:
        return isinstance(value, list) and all(_fits(x, get_args(expected)[0]) for x in value)
    finite = not isinstance(value, float) or math.isfinite(value)
    return type(value) in (get_args(expected) or (expected,)) and finite
