"""AdamW with gradient clipping, learning-rate schedules, and how long a round trains."""

import math
from collections.abc import Callable

import optax

# Learning rate of an update from the number of those before it. On the host, and an argument of the
# update: rounds of different lengths share one compiled program.
Schedule = Callable[[int], float]


def steps_of_round(round_: int, first_steps: int, growth: float, max_steps: int) -> int:
    """Training steps of round 1, 2, ...: 40 x 1.2^(n-1), rounded down, with a cap (appendix)."""
    return min(max_steps, int(first_steps * growth ** (round_ - 1)))


def constant(learning_rate: float, warmup_steps: int) -> Schedule:
    """Linear warm-up, then constant: the paper's schedule for fine-tuning."""
    return lambda step: (
        learning_rate * min(1.0, step / warmup_steps) if warmup_steps else learning_rate
    )


def cosine(learning_rate: float, warmup_steps: int, steps: int) -> Schedule:
    """Linear warm-up, then a cosine down to a twentieth at step `steps`."""

    def rate(step: int) -> float:
        if step < warmup_steps:
            return learning_rate * step / warmup_steps
        done = min(1.0, (step - warmup_steps) / max(1, steps - warmup_steps))
        return learning_rate * (0.05 + 0.95 * (1 + math.cos(math.pi * done)) / 2)

    return rate


def make_optimizer(
    *, clip: float, weight_decay: float = 0.0, b1: float = 0.9, b2: float = 0.999
) -> optax.GradientTransformation:
    """AdamW after clipping the gradient to a global norm of `clip`, but for the learning rate."""
    return optax.chain(
        optax.clip_by_global_norm(clip),
        optax.scale_by_adam(b1=b1, b2=b2),
        optax.add_decayed_weights(weight_decay),
    )
