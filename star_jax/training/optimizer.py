"""AdamW with gradient clipping, learning-rate schedules, and the number of steps of a round."""

import math
from collections.abc import Callable

import optax

# Number of updates done -> learning rate of the next. It is computed on the host and is an argument
# of the update, so that rounds of different lengths share one compiled program.
Schedule = Callable[[int], float]


def steps_of_round(round_: int, first_steps: int, growth: float, max_steps: int) -> int:
    """Returns the training steps of round 1, 2, ...: 40 x 1.2^(n-1), floored, capped (appendix)."""
    return min(max_steps, int(first_steps * growth ** (round_ - 1)))


def constant(learning_rate: float, warmup_steps: int) -> Schedule:
    """Returns linear warm-up, then a constant rate: the paper's schedule for fine-tuning."""
    return lambda step: (
        learning_rate * min(1.0, step / warmup_steps) if warmup_steps else learning_rate
    )


def cosine(learning_rate: float, warmup_steps: int, steps: int) -> Schedule:
    """Returns linear warm-up, then a cosine down to a twentieth of the rate at step `steps`."""

    def rate(step: int) -> float:
        if step < warmup_steps:
            return learning_rate * step / warmup_steps
        done = min(1.0, (step - warmup_steps) / max(1, steps - warmup_steps))
        return learning_rate * (0.05 + 0.95 * (1 + math.cos(math.pi * done)) / 2)

    return rate


def make_optimizer(
    *, clip: float, weight_decay: float = 0.0, b1: float = 0.9, b2: float = 0.999
) -> optax.GradientTransformation:
    """Returns AdamW without the learning rate; gradients are clipped to global norm `clip`."""
    return optax.chain(
        optax.clip_by_global_norm(clip),
        optax.scale_by_adam(b1=b1, b2=b2),
        optax.add_decayed_weights(weight_decay),
    )
