"""The hint-leak scores of a round's rationalizations, and the file that stores them."""

import dataclasses
import json
import math
import os
from collections.abc import Sequence
from typing import Any

from etils import epath

from star_jax.data.sample import Sample
from star_jax.storage import files

FILE = "leak_scores.jsonl"
_FIELDS = {"id": str, "sample": int, "mean": float, "worst": float}


@dataclasses.dataclass(frozen=True)
class LeakScore:
    """How much more likely a rationalization is with the hint than without it.

    Of each token of the completion, end included, it is the log-probability after the prompt with
    the hint minus that after the prompt without it. Both are in nats.

    Attributes:
        mean: mean over the tokens.
        worst: maximum over the tokens.
    """

    mean: float
    worst: float


def key(sample: Sample) -> tuple[str, int]:
    """Returns what names a sample in its round: problem's id, and index among its samples."""
    return sample.id, sample.sample


def write(folder: epath.PathLike, samples: Sequence[Sample], scores: Sequence[LeakScore]) -> None:
    """Writes folder/leak_scores.jsonl in one piece.

    Args:
        folder: folder of the round.
        samples: rationalizations that were scored.
        scores: score of each of them, in their order.

    Raises:
        ValueError: a score is NaN or infinite.
    """
    lines = []
    for sample, score in zip(samples, scores, strict=True):
        id_, index = key(sample)
        line = {"id": id_, "sample": index, "mean": score.mean, "worst": score.worst}
        lines.append(json.dumps(line, allow_nan=False) + "\n")
    files.write_atomic(epath.Path(folder) / FILE, "".join(lines))


def read(folder: epath.PathLike) -> dict[tuple[str, int], LeakScore]:
    """Reads folder/leak_scores.jsonl: scores by `key` of their samples, in the file's order.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line is torn or wrong; the message names file, line and field.
    """
    path = epath.Path(folder) / FILE
    *lines, rest = path.read_bytes().split(b"\n")
    if rest:
        raise _damaged(path, len(lines) + 1, "torn, it has no end")
    found: dict[tuple[str, int], LeakScore] = {}
    for number, line in enumerate(lines, 1):
        record = _parse(path, number, line)
        name = (record["id"], record["sample"])
        if name in found:
            raise _damaged(path, number, f"a second score of sample {name[1]} of {name[0]!r}")
        found[name] = LeakScore(record["mean"], record["worst"])
    return found


def of_samples(folder: epath.PathLike, samples: Sequence[Sample]) -> list[LeakScore]:
    """Reads the scores of `samples`, in their order, from folder/leak_scores.jsonl.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: as in `read`; or the file is of other samples.
    """
    found = read(folder)
    if list(found) != [key(sample) for sample in samples]:
        raise ValueError(
            f"{os.fspath(epath.Path(folder) / FILE)}: its {len(found)} scores are not of the "
            f"round's {len(samples)} rationalizations in their order; delete it to score them again"
        )
    return list(found.values())


def _parse(path: epath.Path, number: int, line: bytes) -> dict[str, Any]:
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
        value = record[name]
        if type(value) is not expected or (expected is float and not math.isfinite(value)):
            kind = "a finite float" if expected is float else expected.__name__
            raise _damaged(path, number, f"{name!r} is {value!r}, must be {kind}")
    return record


def _damaged(path: epath.Path, number: int, what: str) -> ValueError:
    return ValueError(f"{os.fspath(path)} line {number}: {what}; delete it to score again")
