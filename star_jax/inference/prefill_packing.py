"""How the prompts of newcomers are packed to be read together, whatever their lengths.

They lie one after the other, as examples do in training (`data/packing.py`): one program reads them
all, and little of it is padding.
"""

import bisect
import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from star_jax.inference.scheduler import Bucket, Request

_WAVES = 32  # slots of a shard / this: so many prompts are awaited before they are read together
_LEAST = 4  # prompts awaited at least
_TILE = 16  # those tokens are a multiple of it


@dataclasses.dataclass(frozen=True)
class PrefillBudget:
    """What newcomers' prompts are read in together.

    Attributes:
        groups: G, one a shard.
        tokens: T, of a group.
        rows: N, at most, of a group.
    """

    groups: int
    tokens: int
    rows: int

    def pack(self, lengths: Sequence[int]) -> list[tuple[int, int]]:
        """Which prompts are read together, and the group of each.

        First comes the first of them, and then always the longest that there is room for: prompts
        of different lengths leave less of it.
        """
        free, seats = [self.tokens] * self.groups, [self.rows] * self.groups
        longest = sorted(range(len(lengths)), key=lambda one: -lengths[one])
        found: list[tuple[int, int]] = []
        while True:
            group = max(range(self.groups), key=lambda one: (seats[one] > 0, free[one]))
            at = bisect.bisect_left(longest, -free[group], key=lambda one: -lengths[one])
            if not seats[group] or at == len(longest):
                return found
            chosen = longest.pop(at if found else longest.index(min(longest[at:])))
            seats[group] -= 1
            free[group] -= lengths[chosen]
            found.append((chosen, group))


def prefill_budget(shape: Bucket, shards: int, most: int) -> PrefillBudget:
    """Room for a wave of prompts that are half as long as the longest, or for twice as many.

    Args:
        shape: of the slots.
        shards: that they are shared out to.
        most: tokens read at a time by a shard, at most, but for one longer prompt.
    """
    each = shape.rows // shards
    wave = max(min(each, _LEAST), each // _WAVES)
    tokens = max(shape.prompt_length, min(most, wave * -(-shape.prompt_length // 2)))
    return PrefillBudget(shards, -(-tokens // _TILE) * _TILE, min(each, 2 * wave))


def pack(
    rows: Sequence[Request], places: Sequence[int], shape: Bucket, room: PrefillBudget
) -> tuple[NDArray[np.int32], ...]:
    """The arrays of `decode.Newcomers`, without the seed, for rows that get these slots.

    The rows are in the order that `Room.share_out` has chosen them in.
    """
    tokens, segments, positions = np.zeros((3, room.groups, room.tokens), np.int32)
    end, start, number, slot = np.zeros((4, room.groups, room.rows), np.int32)
    start[:], slot[:] = shape.prompt_length, shape.rows
    filled, seats = [0] * room.groups, [0] * room.groups
    groups = room.pack([len(row.tokens) for row in rows])
    for row, place, (_, group) in zip(rows, places, groups, strict=True):
        at = group, seats[group]
        inside = group, slice(filled[group], filled[group] + len(row.tokens))
        tokens[inside], segments[inside] = row.tokens, 1 + seats[group]
        positions[inside] = np.arange(len(row.tokens))
        filled[group] += len(row.tokens)
        seats[group] += 1
        end[at], start[at] = filled[group], shape.prompt_length - len(row.tokens)
        number[at], slot[at] = row.number, place
    return tokens, segments, positions, end, start, number, slot
