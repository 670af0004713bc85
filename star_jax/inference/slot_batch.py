"""Slots that are open on the devices: rows are put into them and taken out.

B rows of a shape are B slots. The host (`inference/scheduler.py`) decides who gets one; what is
here runs the programs of `inference/programs.py` on them.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import jax
import numpy as np
from jax.sharding import Mesh
from numpy.typing import NDArray

from star_jax.inference import buckets, decode, prefill_packing
from star_jax.inference.scheduler import Bucket, Request
from star_jax.models import kv_cache
from star_jax.models.params import Params
from star_jax.runtime import sharding


@dataclasses.dataclass(frozen=True)
class Policy:
    """What is sampled with.

    Attributes:
        weights: laid out for sampling.
        prefix: the few-shot prompt, read once; None without any.
        greedy: [] bool, whatever the temperature; None where that is 0.
    """

    weights: Params
    prefix: kv_cache.Prefix | None
    greedy: jax.Array | None = None


class Programs(Protocol):
    """What slots need of `sampling.Sampling`.

    Attributes:
        mesh: all devices.
        shards: that slots are shared out to.
        read_at_a_time: tokens of prompts, of a shard.
        run: (name, arguments) -> what that program gives.
        slot_steps: steps of all slots so far, counted here.
        busy: those of them that a row was in, likewise.
    """

    mesh: Mesh
    shards: int
    read_at_a_time: int
    run: Callable[..., Any]
    slot_steps: int
    busy: int


class DeviceSlots:
    """Slots of one shape; see `engine.Slots`, which it is.

    Args:
        sampling: the programs.
        policy: that writes.
        seed: of its draws, with a row's number: run, round, stream.
        shape: of the slots.
    """

    def __init__(
        self, sampling: Programs, policy: Policy, seed: tuple[int, int, int], shape: Bucket
    ) -> None:
        self._room = prefill_packing.prefill_budget(shape, sampling.shards, sampling.read_at_a_time)
        self._sampling, self._policy, self._shape = sampling, policy, shape
        self._seed = sharding.device_put(sampling.mesh, np.asarray(seed, np.uint32))
        self._ring = buckets.page_ring(shape.max_new_tokens)
        self._slots: decode.SlotState = sampling.run(("open", shape), policy.weights)
        self._smaller = [*buckets.fewer(shape, sampling.shards), dataclasses.replace(shape, rows=0)]
        self.count, self.fewer = shape.rows, self._smaller[0].rows
        by_shard = np.arange(shape.rows).reshape(sampling.shards, -1)
        self.order: Sequence[int] = by_shard.T.ravel().tolist()  # all shards get as many
        self._steps = self._busy = 0

    def shrink(self, places: Sequence[int]) -> Sequence[int]:
        """Goes on with these rows in fewer slots, unless the longer ring outweighs that.

        Nor does it where a shard has more rows than it keeps.
        """
        before, after, shards = self._shape, self._smaller[0], self._sampling.shards
        ring, now = self._ring, len(self._slots.cache.ring)
        longer = after.rows * (after.prompt_length + ring.tokens)
        kept = buckets.kept(places, before.rows, after.rows, shards)
        if not kept or longer > before.rows * (before.prompt_length + ring.page_length * now):
            return places
        at = sharding.device_put(self._sampling.mesh, np.asarray(kept, np.int32), "batch")
        self._slots = self._sampling.run(("shrink", before, now), self._slots, at)
        self._shape = self._smaller.pop(0)
        self.count, self.fewer = self._shape.rows, self._smaller[0].rows
        return [kept.index(place) for place in places]

    def choose(self, rows: Sequence[Request]) -> list[int]:
        """Numbers of the rows to admit next, together and in this order; 0 is one of them."""
        return [one for one, _ in self._room.pack([len(row.tokens) for row in rows])]

    def admit(self, rows: Sequence[Request], places: Sequence[int]) -> None:
        """Puts rows into slots."""
        name = ("admit", self._shape, self._policy.prefix is not None)
        packed = sharding.device_put(
            self._sampling.mesh,
            prefill_packing.pack(rows, places, self._shape, self._room),
            "batch",
        )
        new = decode.PrefillBatch(*packed, seed=self._seed)
        ring, slots = self._slots.cache.ring, decode.with_ring(self._slots, ())
        given = (self._policy.weights, slots, new, self._policy.prefix, self._policy.greedy)
        self._slots = decode.with_ring(self._sampling.run(name, *given), ring)

    def advance(self, wanted: int) -> tuple[NDArray, NDArray, NDArray]:
        """Writes until `wanted` slots have ended: tokens [B, N], length [B], finished [B].

        Of the tokens, the rows are real that this process holds (`Programs.owners`).
        """
        count = sharding.device_put(self._sampling.mesh, np.int32(wanted))
        sampling, policy = self._sampling, self._policy
        while True:
            blocks = len(self._slots.cache.ring)
            name = ("advance", self._shape, blocks, policy.prefix is not None)
            given = (policy.weights, self._slots, policy.prefix, self._seed, count)
            self._slots, told = sampling.run(name, *given, policy.greedy)
            length, finished, steps, busy = jax.device_get(told)
            going, made = (
                ~finished & (length < self._shape.max_new_tokens),
                int(steps) - self._steps,
            )
            self._steps += made
            sampling.slot_steps += made * self._shape.rows
            if made and self._steps % self._ring.page_length == 0:
                self._turn(length[going])
            if np.sum(~going) >= wanted:
                break
        sampling.busy += int(busy) - self._busy
        self._busy = int(busy)
        return sharding.to_host(self._slots.rows.generated.tokens), length, finished

    def _turn(self, lengths: NDArray) -> None:
        """Makes another block of the ring the first one: the oldest, or one more.

        Args:
            lengths: tokens that each row has written that goes on; its last is not in the ring yet.
        """
        ring, places = self._slots.cache.ring, self._ring.page_length
        *others, oldest = ring
        if len(ring) < self._ring.pages and max(lengths, default=1) - 1 > len(others) * places:
            others, oldest = ring, self._sampling.run(("block", self._shape), ring[0])
        self._slots = decode.with_ring(self._slots, (oldest, *others))
