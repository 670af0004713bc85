"""The slots of a bucket on the devices: rows are put into them and taken out.

B rows of a bucket have B slots. The host (`inference/scheduler.py`) decides who gets one; a
`DeviceSlots` calls the programs of `inference/programs.py` on them.
"""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np
from numpy.typing import NDArray

from star_jax.inference import buckets, decode, prefill_packing
from star_jax.inference.buckets import Bucket
from star_jax.inference.programs import Policy, SamplingPrograms
from star_jax.inference.scheduler import Request, SlotUsage
from star_jax.runtime import sharding


class DeviceSlots:
    """A `scheduler.SlotBatch` on the devices.

    Attributes:
        usage: how busy the slots were so far.

    Args:
        programs: of sampling.
        policy: what writes.
        seed: of its draws, with a row's number: run, round, stream.
        bucket: shape of the slots.
    """

    def __init__(
        self,
        programs: SamplingPrograms,
        policy: Policy,
        seed: tuple[int, int, int],
        bucket: Bucket,
    ) -> None:
        self._programs, self._policy, self._bucket = programs, policy, bucket
        self._budget = prefill_packing.prefill_budget(
            bucket, programs.shards, programs.prefill_tokens
        )
        self._seed = sharding.device_put(programs.mesh, np.asarray(seed, np.uint32))
        self._ring = buckets.page_ring(bucket.max_new_tokens)
        self._state = programs.open[bucket](policy.weights)
        self._smaller = [
            *buckets.fewer(bucket, programs.shards),
            dataclasses.replace(bucket, rows=0),
        ]
        self.count, self.fewer = bucket.rows, self._smaller[0].rows
        by_shard = np.arange(bucket.rows).reshape(programs.shards, -1)
        self.order: Sequence[int] = by_shard.T.ravel().tolist()  # all shards get as many
        self.usage = SlotUsage()
        self._steps = 0

    def shrink(self, slots: Sequence[int]) -> Sequence[int]:
        """Goes on with the rows in `slots` in fewer of them; returns where each is now.

        Nothing changes where the longer ring outweighs the fewer rows, or where a shard has more
        rows than it keeps.
        """
        before, after, shards = self._bucket, self._smaller[0], self._programs.shards
        ring, pages = self._ring, len(self._state.cache.ring)
        longer = after.rows * (after.prompt_length + ring.tokens)
        kept = buckets.kept(slots, before.rows, after.rows, shards)
        if not kept or longer > before.rows * (before.prompt_length + ring.page_length * pages):
            return slots
        indices = sharding.device_put(self._programs.mesh, np.asarray(kept, np.int32), "batch")
        self._state = self._programs.shrink[before, pages](self._state, indices)
        self._bucket = self._smaller.pop(0)
        self.count, self.fewer = self._bucket.rows, self._smaller[0].rows
        return [kept.index(slot) for slot in slots]

    def choose(self, requests: Sequence[Request]) -> list[int]:
        """Numbers of the requests to admit next, together and in this order; 0 is one of them."""
        return [one for one, _ in self._budget.assign([len(r.tokens) for r in requests])]

    def admit(self, requests: Sequence[Request], slots: Sequence[int]) -> None:
        """Puts requests into slots."""
        policy = self._policy
        packed = prefill_packing.pack(requests, slots, self._bucket, self._budget)
        arrays = sharding.device_put(self._programs.mesh, packed, "batch")
        new = decode.PrefillBatch(**arrays, seed=self._seed)
        ring, state = self._state.cache.ring, decode.with_ring(self._state, ())
        program = self._programs.admit[self._bucket, policy.prefix is not None]
        state = program(policy.weights, state, new, policy.prefix, policy.greedy)
        self._state = decode.with_ring(state, ring)

    def advance(self, wanted: int) -> tuple[NDArray, NDArray, NDArray]:
        """Writes until `wanted` slots have ended: tokens [B, N], length [B], finished [B].

        Of the tokens, the rows are real that this process holds (`SamplingPrograms.owners`).
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
            made = int(steps) - self._steps
            self._steps += made
            self.usage.steps += made * self._bucket.rows
            if made and self._steps % self._ring.page_length == 0:
                self._turn(length[running])
            if np.sum(~running) >= wanted:
                break
        self.usage.busy = int(busy)
        return sharding.to_host(self._state.rows.generated.tokens), length, finished

    def _turn(self, lengths: NDArray) -> None:
        """Makes another page of the ring the first one: the oldest, or an empty one.

        Args:
            lengths: tokens that each running row has written; its last is not in the ring yet.
        """
        ring = self._state.cache.ring
        *others, oldest = ring
        needed = max(lengths, default=1) - 1
        if len(ring) < self._ring.pages and needed > len(others) * self._ring.page_length:
            others, oldest = ring, self._programs.empty_page[self._bucket](ring[0])
        self._state = decode.with_ring(self._state, (oldest, *others))
