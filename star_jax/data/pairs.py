"""Preference pairs: a right and a wrong completion of one question, from a run's samples.

V-STaR (Hosseini et al., 2024) trains its verifier on them. The file of pairs is the explicit-prompt
format of trl's DPOTrainer.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from etils import epath

from star_jax.data.sample import Sample
from star_jax.storage import files
from star_jax.tasks.task import Problem, Task

_CHOSEN, _HELD_OUT = 0, 1  # streams of random numbers


@dataclass(frozen=True)
class Pair:
    """Two completions of one question.

    Attributes:
        problem: the question.
        chosen: a completion with the right answer.
        rejected: a completion with another answer or none; it may have been cut off.
    """

    problem: Problem
    chosen: str
    rejected: str


def make_pairs(
    samples: Iterable[Sample], most: int, seed: int, *, voted: bool = False
) -> list[Pair]:
    """Returns pairs from right x wrong completions of the same question.

    A sample without a hint is right or wrong by its answer; where the run's labels are votes, by
    its question's label in that round, and neither without one. One with a hint (a rationalization)
    may be chosen if it was kept and is right, as the run trains on it; else it makes no pair,
    because the model did not write it for this prompt. Equal texts of a question count once, and a
    text that is right once is never rejected.

    Samples are of the same question if question, choices and answer are equal, in whatever round.
    The pairs of a question depend on (its samples, `most`, `seed`) alone, and use its texts evenly.

    Args:
        samples: samples of all rounds; rationalizations among them have their hint-free prompts.
        most: most pairs of a question.
        seed: seed of the choice.
        voted: whether a vote of the samples decides what is right, and not the data's answer.

    Returns:
        The pairs, in the order in which their questions first come.
    """
    problems: dict[tuple[str, ...], Problem] = {}
    right: dict[tuple[str, ...], dict[str, None]] = {}
    wrong: dict[tuple[str, ...], dict[str, None]] = {}
    for sample in samples:
        is_right = _is_right(sample, voted)
        if is_right is None:
            continue
        key = asked(sample)
        problems.setdefault(key, sample.problem)
        # Keys of dicts: sets whose order does not change.
        (right if is_right else wrong).setdefault(key, {})[sample.completion] = None
    pairs = []
    for key, problem in problems.items():
        chosen = list(right.get(key, {}))
        rejected = [text for text in wrong.get(key, {}) if text not in right.get(key, {})]
        draws = np.random.default_rng([seed, _CHOSEN, _hash(key)])
        pairs += [Pair(problem, *texts) for texts in _combine(chosen, rejected, most, draws)]
    return pairs


def _is_right(sample: Sample, voted: bool) -> bool | None:
    """Returns whether a sample is a right completion of its question; None to leave it out."""
    if voted:
        right = sample.predicted == sample.label and not sample.truncated
        return None if sample.hint or sample.label is None else right
    if sample.hint:
        return True if sample.kept and sample.correct else None
    return sample.correct


def _combine(
    chosen: Sequence[str], rejected: Sequence[str], most: int, draws: np.random.Generator
) -> Iterator[tuple[str, str]]:
    """Yields at most `most` different combinations, along the diagonals of a random order."""
    rows, columns = len(chosen), len(rejected)
    order: list[int] = draws.permutation(rows).tolist()
    others: list[int] = draws.permutation(columns).tolist()
    cycle = math.lcm(rows, columns)  # a diagonal comes back to its start after so many steps
    for step in range(min(most, rows * columns)):
        row, column = step % rows, (step + step // cycle) % columns
        yield chosen[order[row]], rejected[others[column]]


def split(pairs: Sequence[Pair], share: float, seed: int) -> tuple[list[Pair], list[Pair]]:
    """Returns the pairs to train on, and those of a share of the questions, held out.

    A hash of the question and `seed` decides, so that it does not depend on the other questions.

    Args:
        pairs: all pairs.
        share: share of the questions that are held out, 0..1.
        seed: seed of the choice.
    """
    parts: tuple[list[Pair], list[Pair]] = ([], [])
    for pair in pairs:
        drawn = np.random.default_rng([seed, _HELD_OUT, _hash(asked(pair.problem))]).random()
        parts[int(drawn < share)].append(pair)
    return parts


def write_pairs(path: epath.PathLike, pairs: Iterable[Pair], task: Task, *, chat: bool) -> None:
    """Writes pairs as JSON lines that trl's DPOTrainer opens, in one piece.

    A line is {"prompt", "chosen", "rejected"}: texts, or with `chat` lists of messages. The prompt
    has no hint and no few-shot examples.
    """
    lines = (json.dumps(_line(pair, task, chat)) + "\n" for pair in pairs)
    files.write_atomic(path, "".join(lines))


def _line(pair: Pair, task: Task, chat: bool) -> dict[str, Any]:
    if not chat:
        prompt = task.prompt(pair.problem, False)
        return {"prompt": prompt, "chosen": pair.chosen, "rejected": pair.rejected}
    texts = {
        "prompt": ("user", task.message(pair.problem, False)),
        "chosen": ("assistant", pair.chosen.strip()),
        "rejected": ("assistant", pair.rejected.strip()),
    }
    return {name: [{"role": role, "content": text}] for name, (role, text) in texts.items()}


def asked(question: Sample | Problem) -> tuple[str, ...]:
    """Returns what equal questions have in common."""
    return (question.question, question.answer, *question.choices)


def _hash(key: tuple[str, ...]) -> int:
    text = json.dumps(key).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big")
