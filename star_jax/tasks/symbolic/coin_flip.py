"""Coin flips (Wei et al., 2022): does a model keep track of a state?

    Q: A coin is heads up. Amy flips the coin. Carl does not flip the coin. Is the coin still heads
    up?
    A: Amy flips the coin, so it is now tails up. Carl does not flip the coin, so it is still tails
    up. The answer is no

Half of all guesses are right. The steps tell a right answer from a lucky one. "now" and "still" are
for small models: without them SmolLM2-135M writes heads and tails in turn, whoever flips.
"""

import re
from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from star_jax.tasks.symbolic import names
from star_jax.tasks.symbolic.base import Symbolic
from star_jax.tasks.task import Problem

_PER_EXAMPLE = 16  # questions drawn to choose a worked example from
_ACTIONS = ("does not flip", "flips")
_SIDES = ("heads", "tails")
_DONE = re.compile(r"(\w+) (flips|does not flip) the coin")
_STEP = re.compile(rf"{_DONE.pattern}, so it is (?:still |now )?(heads|tails) up")


@dataclass(frozen=True)
class CoinFlip(Symbolic):
    """Coin flips as a task."""

    name: ClassVar[str] = "coin_flip"
    unit: ClassVar[str] = "people"

    def draw(self, rng: np.random.Generator, group: str) -> str:
        """Returns a question about different people, each of whom flips the coin or does not."""
        people = rng.choice(names.FIRST, int(group), replace=False)
        done = " ".join(f"{person} {_ACTIONS[rng.integers(2)]} the coin." for person in people)
        return f"A coin is heads up. {done} Is the coin still heads up?"

    def solve(self, question: str) -> tuple[str, str]:
        """Returns a sentence for each person, and whether the coin is heads up: "yes" or "no"."""
        side, sentences = 0, []
        for person, action in _DONE.findall(question):
            flips = _ACTIONS.index(action)
            side ^= flips
            change = ("still", "now")[flips]
            sentences.append(f"{person} {action} the coin, so it is {change} {_SIDES[side]} up.")
        return " ".join(sentences), ("yes", "no")[side]

    def few_shot(self, seed: int, count: int) -> list[Problem]:
        """Returns `count` worked questions; one pattern of flips is as frequent as another.

        Four that happen to be "does not flip, flips" teach a model to write nothing else.
        """
        seen, rank = Counter[tuple[str, ...]](), dict[str, int]()
        problems = super().few_shot(seed, count * _PER_EXAMPLE)
        for problem in problems:
            pattern = tuple(action for _, action in _DONE.findall(problem.question))
            rank[problem.id] = seen[pattern]
            seen[pattern] += 1
        return sorted(problems, key=lambda problem: rank[problem.id])[:count]

    def found_steps(self, completion: str) -> list[str]:
        """Returns each person with what they do and the side that is up then."""
        return [", ".join(step) for step in _STEP.findall(completion)]
