"""Reads and writes `metrics.jsonl`: one line every few updates, appended during training."""

import json
from collections.abc import Callable
from typing import Any

from etils import epath

from star_jax.storage import files

METRICS = "metrics.jsonl"


def append_metrics(path: epath.PathLike, record: dict[str, Any]) -> None:
    """Appends `record` to the metrics file as one JSON line.

    The file is not rewritten, because a round has thousands of lines. A killed process leaves at
    worst a torn last line, which `truncate_metrics` drops.

    Raises:
        ValueError: a number in the record is not finite.
    """
    try:
        line = json.dumps(record, allow_nan=False)
    except ValueError as error:
        raise ValueError(
            f"{path}: a metric is not finite in {record}; has training diverged? "
            "Lower config.train.learning_rate."
        ) from error
    files.append_line(path, line)


def read_metrics(path: epath.PathLike) -> list[dict[str, Any]]:
    """Reads the records of a metrics file without a torn last line; a missing file has none.

    Raises:
        ValueError: a line that is not the last is no JSON object.
    """
    if not epath.Path(path).exists():
        return []
    lines = epath.Path(path).read_bytes().decode("utf-8", errors="replace").splitlines()
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            records.append(_json_object(line))
        except ValueError as error:
            if number < len(lines):
                raise ValueError(f"{path} line {number}: {error}; remove that line") from error
    return records


def _json_object(line: str) -> dict[str, Any]:
    record = json.loads(line)
    if not isinstance(record, dict):
        raise ValueError(f"a metrics line must be a JSON object, not {line!r}")
    return record


def truncate_metrics(path: epath.PathLike, keep: Callable[[dict[str, Any]], bool]) -> None:
    """Drops the torn last line and the records of work that is redone, in one atomic write.

    It is called on resume, before anything is appended. A missing file stays missing.

    Args:
        path: path of the metrics file.
        keep: function that returns whether a record is of work that is not redone.

    Raises:
        ValueError: a line that is not the last is no JSON object.
    """
    if epath.Path(path).exists():
        records = [record for record in read_metrics(path) if keep(record)]
        files.write_atomic(path, "".join(json.dumps(record) + "\n" for record in records))
