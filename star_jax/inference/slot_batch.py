"""The slots of a bucket on the devices.

A bucket of B rows has B slots. The host (`inference/scheduler.py`) decides which request gets a
slot; `DeviceSlots` calls the programs of `inference/programs.py`.
"""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np
from numpy.typing import NDArray

from star_jax.inference import admission, buckets, decode, prefill_packing
from star_jax.inference.buckets import Bucket
from star_jax.inference.programs import Policy, SamplingPrograms
from star_jax.inference.scheduler import Request, Row, SlotUsage
from star_jax.models.prompt_pool import PromptPool
from star_jax.runtime import sharding


class DeviceSlots:
    """A `scheduler.SlotBatch` on the devices.

    Attributes:
        count: number of slots.
        order: all slots, in the order in which free ones are taken.
        wave: number of slots that are to be free before more rows of prompts that have been read
            are admitted, unless fewer rows are left.
        fewer: number of slots after the next `shrink`; 0 if they cannot shrink.
        usage: use of the slots so far.

    Args:
        programs: compiled programs of sampling.
        policy: policy to sample with.
        seed: random seed: run, round, stream; a row's draws depend on it and the row's number.
        bucket: static shape of the slots.
    """

    def __init__(
        self,
        programs: SamplingPrograms,
        policy: Policy,
        seed: tuple[int, int, int],
        bucket: Bucket,
    ) -> None:
        self._programs, self._policy, self._bucket = programs, policy, bucket
        self._budget = programs.budget(bucket)
        self._seed = sharding.device_put(programs.mesh, np.asarray(seed, np.uint32))
        self._ring = buckets.page_ring(bucket.max_new_tokens)
        self._state = programs.open[bucket](policy.weights)
        self._smaller = [
            *buckets.fewer(bucket, programs.shards),
            dataclasses.replace(bucket, rows=0),
        ]
        self.count, self.fewer = bucket.rows, self._smaller[0].rows
        by_shard = np.arange(bucket.rows).reshape(programs.shards, -1)
        self.order: Sequence[int] = by_shard.T.ravel().tolist()  # fills shards evenly
        self.wave, self.usage = self._budget.wave, SlotUsage()
        self._steps = 0
        self._pool: PromptPool | None = None
        self._places: dict[int, tuple[int, int]] = {}  # of the pool's prompts, by request

    def shrink(self, slots: Sequence[int]) -> Sequence[int]:
        """Moves the rows in `slots` into fewer slots; returns the slot of each.

        Nothing changes if the KV cache would grow, because of a longer ring, or if a shard has more
        rows than slots to keep.
        """
        before, after, shards = self._bucket, self._smaller[0], self._programs.shards
        ring, pages = self._ring, len(self._state.cache.ring)
        positions_before = before.rows * (before.prompt_length + ring.page_length * pages)
        positions_after = after.rows * (after.prompt_length + ring.tokens)
        remaining = buckets.slots_to_keep(slots, before.rows, after.rows, shards)
        if remaining is None or positions_after > positions_before:
            return slots
        indices = sharding.device_put(self._programs.mesh, np.asarray(remaining, np.int32), "batch")
        self._state = self._programs.shrink[before, pages](self._state, indices)
        self._bucket = self._smaller.pop(0)
        self.count, self.fewer = self._bucket.rows, self._smaller[0].rows
        return [remaining.index(slot) for slot in slots]

    def choose(self, requests: Sequence[Request]) -> list[int]:
        """Returns the indices of the requests to read next; see `scheduler.SlotBatch`."""
        return [one for one, _ in self._budget.assign([len(r.tokens) for r in requests])]

    def prefill(self, requests: Sequence[Request]) -> None:
        """Reads the prompts of requests; those that were read before are forgotten."""
        programs, policy = self._programs, self._policy
        packed, places = prefill_packing.pack(requests, self._bucket, self._budget)
        self._places = dict(zip((one.number for one in requests), places, strict=True))
        batch = admission.PrefillBatch(**sharding.device_put(programs.mesh, packed, "batch"))
        program = programs.prefill[self._bucket, policy.prefix is not None]
        self._pool = None  # its memory is free before the next is allocated
        self._pool = program(policy.weights, batch, policy.prefix)

    def admit(self, rows: Sequence[Row], slots: Sequence[int]) -> int:
        """Puts the first rows into slots; returns their number. See `scheduler.SlotBatch`.

        After the last of them the prompts are forgotten.
        """
        programs, state = self._programs, self._state
        places = [self._places[row.request.number] for row in rows]
        arrays, count = prefill_packing.seat(rows, places, slots, self._bucket, self._budget)
        arrays = sharding.device_put(programs.mesh, arrays, "batch")
        new = admission.NewRows(**arrays, seed=self._seed)
        assert self._pool is not None
        state = programs.admit[self._bucket](
            decode.with_ring(state, ()), self._pool, new, self._policy.greedy
        )
        self._state = decode.with_ring(state, self._state.cache.ring)
        if count == len(rows):
            self._pool = None
        return count

    def advance(self, wanted: int) -> tuple[NDArray, NDArray, NDArray]:
        """Writes tokens until `wanted` slots have ended; returns tokens, length and finished.

        Shapes are [B, N], [B] and [B]. Tokens of rows that other processes hold are zeros
        (`SamplingPrograms.owners`).
        """
        programs, policy = self._programs, self._policy
        count = sharding.device_put(programs.mesh, np.int32(wanted))
        while True:
            pages = len(self._state.cache.ring)
            program = programs.advance[self._bucket, pages, policy.prefix is not None]
            self._state, progress = program(
                policy.weights, self._state, policy.prefix, self._seed, count, policy.greedy
            )
            length, finished, steps, busy = jax.device_get(progress)
            running = ~finished & (length < self._bucket.max_new_tokens)
            new_steps = int(steps) - self._steps
            self._steps += new_steps
            self.usage.steps += new_steps * self._bucket.rows
            if new_steps and self._steps % self._ring.page_length == 0:
                self._turn_page(length[running])
            if np.sum(~running) >= wanted:
                break
        self.usage.busy = int(busy)
        return sharding.to_host(self._state.rows.generated.tokens), length, finished

    def _turn_page(self, lengths: NDArray) -> None:
        """Makes another page of the ring the first one: the oldest, or an empty one.

        Args:
            lengths: number of tokens that each running row has written; the keys of its last token
                are not in the ring yet.
        """
        ring = self._state.cache.ring
        *others, oldest = ring
        needed = max(lengths, default=1) - 1
        if len(ring) < self._ring.pages and needed > len(others) * self._ring.page_length:
            others, oldest = ring, self._programs.empty_page[self._bucket](ring[0])
        self._state = decode.with_ring(self._state, (oldest, *others))
