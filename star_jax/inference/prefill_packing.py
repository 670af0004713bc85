"""Packs prompts of different lengths into one prefill batch.

They lie one after the other, as examples do in training (`data/packing.py`): one program reads them
all, and little of it is padding.
"""

import bisect
import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from star_jax.inference.buckets import Bucket
from star_jax.inference.scheduler import Request

_WAVES = 32  # slots of a shard / this: so many prompts make a prefill batch
_LEAST = 4  # prompts of a batch at least
_TILE = 16  # those tokens are a multiple of it


@dataclasses.dataclass(frozen=True)
class PrefillBudget:
    """The static shape of a prefill batch.

    Attributes:
        groups: G, one a shard.
        tokens: T, of a group.
        rows: N, at most, of a group.
    """

    groups: int
    tokens: int
    rows: int

    def assign(self, lengths: Sequence[int]) -> list[tuple[int, int]]:
        """Chooses prompts that are read together; returns the number and the group of each.

        The first prompt is chosen first, then always the longest that fits: prompts of different
        lengths leave less padding.

        Args:
            lengths: of the prompts that wait, in tokens.
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
    requests: Sequence[Request], slots: Sequence[int], bucket: Bucket, budget: PrefillBudget
) -> dict[str, NDArray[np.int32]]:
    """The arrays of `decode.PrefillBatch`, without the seed, for requests that get these slots.

    Args:
        requests: in the order that `PrefillBudget.assign` has chosen them in.
        slots: the slot of each.
        bucket: shape of the slots.
        budget: shape of the batch.
    """
    tokens, segments, positions = np.zeros((3, budget.groups, budget.tokens), np.int32)
    end, start, number, slot = np.zeros((4, budget.groups, budget.rows), np.int32)
    start[:], slot[:] = bucket.prompt_length, bucket.rows
    filled, prompts = [0] * budget.groups, [0] * budget.groups
    groups = budget.assign([len(request.tokens) for request in requests])
    for request, own_slot, (_, group) in zip(requests, slots, groups, strict=True):
        length = len(request.tokens)
        inside = group, slice(filled[group], filled[group] + length)
        tokens[inside], segments[inside] = request.tokens, 1 + prompts[group]
        positions[inside] = np.arange(length)
        filled[group] += length
        own = group, prompts[group]
        prompts[group] += 1
        end[own], start[own] = filled[group], bucket.prompt_length - length
        number[own], slot[own] = request.number, own_slot
    return {
        "tokens": tokens,
        "segments": segments,
        "positions": positions,
        "end": end,
        "start": start,
        "number": number,
        "slot": slot,
    }
