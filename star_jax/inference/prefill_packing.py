"""Packs prompts of different lengths into one prefill batch.

The prompts are packed one after the other, as examples are in training (`data/packing.py`): one
program runs all of them, and little of the batch is padding. Rows of them are then admitted.
"""

import bisect
import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from star_jax.inference.buckets import Bucket
from star_jax.inference.scheduler import Request, Row

_WAVES = 32  # slots of a shard for each prompt that a prefill batch is sized for
_LEAST = 4  # prompts that a prefill batch is sized for at least
_TILE = 16  # the tokens of a group are a multiple of it


@dataclasses.dataclass(frozen=True)
class PrefillBudget:
    """The static shape of a prefill batch.

    Attributes:
        groups: number of groups, G; one a shard.
        tokens: number of tokens in a group, T.
        rows: most prompts in a group, N, and most rows of a group that are admitted together.
    """

    groups: int
    tokens: int
    rows: int

    @property
    def wave(self) -> int:
        """Number of prompts of half the bucket's length that the batch is sized for."""
        return self.groups * -(-self.rows // 2)

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
    requests: Sequence[Request], bucket: Bucket, budget: PrefillBudget
) -> tuple[dict[str, NDArray[np.int32]], list[tuple[int, int]]]:
    """Packs the prompts of a prefill batch.

    Args:
        requests: requests to prefill, in the order in which `PrefillBudget.assign` chose them.
        bucket: bucket of the slots.
        budget: shape of the batch.

    Returns:
        The arrays of an `admission.PrefillBatch`, and the place of each prompt: its group and its
        index there.
    """
    tokens, segments, positions = np.zeros((3, budget.groups, budget.tokens), np.int32)
    end, start = np.zeros((2, budget.groups, budget.rows), np.int32)
    start[:] = bucket.prompt_length
    filled, prompts = [0] * budget.groups, [0] * budget.groups
    places: list[tuple[int, int]] = []
    groups = budget.assign([len(request.tokens) for request in requests])
    for request, (_, group) in zip(requests, groups, strict=True):
        length, place = len(request.tokens), (group, prompts[group])
        inside = group, slice(filled[group], filled[group] + length)
        prompts[group] += 1
        tokens[inside], segments[inside] = request.tokens, prompts[group]
        positions[inside] = np.arange(length)
        filled[group] += length
        end[place], start[place] = filled[group], bucket.prompt_length - length
        places.append(place)
    arrays = {
        "tokens": tokens,
        "segments": segments,
        "positions": positions,
        "end": end,
        "start": start,
    }
    return arrays, places


def seat(
    rows: Sequence[Row],
    places: Sequence[tuple[int, int]],
    slots: Sequence[int],
    bucket: Bucket,
    budget: PrefillBudget,
) -> tuple[dict[str, NDArray[np.int32]], int]:
    """Chooses rows to admit together: the first, as many as there are slots and room for.

    Args:
        rows: rows that wait.
        places: place of each row's prompt, from `pack`.
        slots: free slots.
        bucket: bucket of the slots.
        budget: shape of the prefill batch, and of a batch of new rows.

    Returns:
        The arrays of an `admission.NewRows`, without the seed, and the number of rows.
    """
    seats, number, slot = np.zeros((3, budget.groups, budget.rows), np.int32)
    slot[:] = bucket.rows
    taken, count = [0] * budget.groups, 0
    for row, (group, prompt), free in zip(rows, places, slots, strict=False):
        if taken[group] == budget.rows:
            break
        own = group, taken[group]
        seats[own], number[own], slot[own] = prompt, row.number, free
        taken[group] += 1
        count += 1
    return {"seat": seats, "number": number, "slot": slot}, count
