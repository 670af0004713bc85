"""The hint-leak scores of a round's rationalizations, and the file that stores them."""

import dataclasses
import json
import os
from collections.abc import Sequence

from etils import epath

from star_jax.data.sample import Sample
from star_jax.storage import files, json_lines

FILE = "leak_scores.jsonl"
_REMEDY = "delete it to score again"
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
    found: dict[tuple[str, int], LeakScore] = {}
    for number, record in enumerate(json_lines.read(path, _FIELDS, _REMEDY), 1):
        name = (record["id"], record["sample"])
        if name in found:
            what = f"a second score of sample {name[1]} of {name[0]!r}"
            raise json_lines.damaged(path, number, what, _REMEDY)
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
