"""Which rows of a data set's training split a run holds out, and in what order it uses them."""

import hashlib
from collections.abc import Sequence

import numpy as np

from star_jax.tasks.task import Problem

_TRAIN, _EVALUATION, _TEST = 0, 2, 3  # streams of random numbers


def held_out(problem: Problem, seed: int, share: float) -> bool:
    """Whether a problem of the training split belongs to the development split instead.

    A hash of its question says so, spaces aside: it does not depend on the other rows.

    Args:
        problem: of the training split.
        seed: the run's.
        share: of the problems that are held out, 0..1.
    """
    text = f"{seed}\n{key(problem)}".encode(errors="backslashreplace")
    digest = hashlib.sha256(text).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def key(problem: Problem) -> str:
    """What two problems that are the same have in common: the words of the question."""
    return " ".join(problem.question.split())


def asked(problem: Problem) -> tuple[str, ...]:
    """What two problems that ask the same have in common: those words, and the choices."""
    return (key(problem), *problem.choices)


def train(problems: Sequence[Problem], seed: int, round: int, count: int) -> list[Problem]:
    """`count` of the problems (0: all), the same in every round, in an order of the round's own."""
    chosen = _first(problems, count, _TRAIN, seed)
    return [
        chosen[i] for i in np.random.default_rng([_TRAIN, seed, round]).permutation(len(chosen))
    ]


def evaluation(problems: Sequence[Problem], seed: int, count: int) -> list[Problem]:
    """`count` of the held-out problems (0: all), in an order of the seed's own."""
    return _first(problems, count, _EVALUATION, seed)


def test(problems: Sequence[Problem], count: int) -> list[Problem]:
    """`count` of the test set (0: all), in an order that is always the same."""
    return _first(problems, count, _TEST, 0)


def _first(problems: Sequence[Problem], count: int, stream: int, seed: int) -> list[Problem]:
    order = np.random.default_rng([stream, seed]).permutation(len(problems))
    return [problems[i] for i in order[: count or None]]
