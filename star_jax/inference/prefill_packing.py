"""Packs prompts of different lengths into one prefill batch.

The prompts are packed one after the other, as examples are in training (`data/packing.py`): one
program runs all of them, and little of the batch is padding.
"""

import bisect
import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from star_jax.inference.buckets import Bucket
from star_jax.inference.scheduler import Request

_WAVES = 32  # slots of a shard for each prompt that a prefill batch is sized for
_LEAST = 4  # prompts that a prefill batch is sized for at least
_TILE = 16  # the tokens of a group are a multiple of it


@dataclasses.dataclass(frozen=True)
class PrefillBudget:
    """The static shape of a prefill batch.

    Attributes:
        groups: number of groups, G; one a shard.
        tokens: number of tokens in a group, T.
        rows: most prompts in a group, N.
    """

    groups: int
    tokens: int
    rows: int

    def assign(self, lengths: Sequence[int]) -> list[tuple[int, int]]:
        """Chooses prompts to prefill together.

        The first prompt is chosen first, then always the longest that fits: prompts of different
        lengths leave less padding.

        Args:
            lengths: lengths in tokens of the prompts that wait.

        Returns:
            The index and the group of each chosen prompt, in the order of choice.
        """
        free, seats = [self.tokens] * self.groups, [self.rows] * self.groups
        longest = sorted(range(len(lengths)), key=lambda one: -lengths[one])
        assigned: list[tuple[int, int]] = []
        while True:
            group = max(range(self.groups), key=lambda one: (seats[one] > 0, free[one]))
            at = bisect.bisect_left(longest, -free[group], key=lambda one: -lengths[one])
            if not seats[group] or at == len(longest):
                return assigned
            prompt = longest.pop(at if assigned else longest.index(min(longest[at:])))
            seats[group] -= 1
            free[group] -= lengths[prompt]
            assigned.append((prompt, group))


def prefill_budget(shape: Bucket, shards: int, most: int) -> PrefillBudget:
    """Returns the shape of a prefill batch for a wave of prompts of half the bucket's length.

    It holds at most twice as many prompts as the wave, in case they are shorter.

    Args:
        shape: bucket of the slots.
        shards: number of devices that the slots are split over.
        most: most tokens that a shard prefills at a time, except for a single longer prompt.
    """
    each = shape.rows // shards
    wave = max(min(each, _LEAST), each // _WAVES)
    tokens = max(shape.prompt_length, min(most, wave * -(-shape.prompt_length // 2)))
    return PrefillBudget(shards, -(-tokens // _TILE) * _TILE, min(each, 2 * wave))


def pack(
    requests: Sequence[Request], slots: Sequence[int], bucket: Bucket, budget: PrefillBudget
) -> dict[str, NDArray[np.int32]]:
    """Returns the arrays of a `decode.PrefillBatch`, without the seed.

    Args:
        requests: requests to prefill, in the order in which `PrefillBudget.assign` chose them.
        slots: slot of each request.
        bucket: bucket of the slots.
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
