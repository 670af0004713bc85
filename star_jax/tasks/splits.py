"""Splits of a data set's rows: training, development and test, and the order that a run uses."""

import hashlib
from collections.abc import Sequence

import numpy as np

from star_jax.tasks.task import Problem

_TRAIN, _EVALUATION, _TEST = 0, 2, 3  # streams of random numbers


def held_out(problem: Problem, seed: int, share: float) -> bool:
    """Returns whether a problem of the training split belongs to the development split instead.

    A hash of its question, spaces aside, decides. It does not depend on the other rows.

    Args:
        problem: a problem of the training split.
        seed: seed of the run.
        share: share of the problems that are held out, 0..1.
    """
    text = f"{seed}\n{key(problem)}".encode(errors="backslashreplace")
    digest = hashlib.sha256(text).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def key(problem: Problem) -> str:
    """Returns the words of the question, which two equal problems have in common."""
    return " ".join(problem.question.split())


def asked(problem: Problem) -> tuple[str, ...]:
    """Returns the question's words and the choices, which two problems that ask the same share."""
    return (key(problem), *problem.choices)


def train(problems: Sequence[Problem], seed: int, round: int, count: int) -> list[Problem]:
    """Returns the same `count` problems (0: all) in every round; each round has its own order."""
    first = _first(problems, count, _TRAIN, seed)
    return [first[i] for i in np.random.default_rng([_TRAIN, seed, round]).permutation(len(first))]


def evaluation(problems: Sequence[Problem], seed: int, count: int) -> list[Problem]:
    """Returns `count` of the held-out problems (0: all); each seed has an order of its own."""
    return _first(problems, count, _EVALUATION, seed)


def test(problems: Sequence[Problem], count: int) -> list[Problem]:
    """Returns `count` problems of the test set (0: all), in an order that is always the same."""
    return _first(problems, count, _TEST, 0)


def _first(problems: Sequence[Problem], count: int, stream: int, seed: int) -> list[Problem]:
    order = np.random.default_rng([stream, seed]).permutation(len(problems))
    return [problems[i] for i in order[: count or None]]
