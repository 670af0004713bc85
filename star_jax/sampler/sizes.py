"""The static sizes that sampling is compiled for: of rings and slots."""

import dataclasses

from star_jax.sampler.engine import Shape

FIRST_WINDOW = 64  # new tokens the first cache has room for
WINDOW_GROWTH = 2  # each further cache is this much longer
_HALVINGS = 2  # so often the slots become half as many when no row waits for one,
_FEWEST = 8  # if so many are left of every shard


def windows(budget: int) -> list[int]:
    """The cache sizes a decode passes through, in new tokens; the last is the budget."""
    sizes = [min(FIRST_WINDOW, budget)]
    while sizes[-1] < budget:
        sizes.append(min(int(sizes[-1] * WINDOW_GROWTH), budget))
    return sizes


def fewer(shape: Shape, shards: int) -> list[Shape]:
    """The shapes that the last rows of a chunk go on in, one after the other."""
    found: list[Shape] = []
    each = shape.rows // shards
    while len(found) < _HALVINGS and each % 2 == 0 and each // 2 >= _FEWEST:
        each //= 2
        found.append(dataclasses.replace(shape, rows=shards * each))
    return found
