"""Sampling on the devices: its programs, which open slots (`inference/slot_batch.py`) run.

They are made of the pure functions of `inference/decode.py`, one of each for a shape, and compiled
ahead by `star/programs.py`.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from star_jax.inference import buckets, decode, prefill_packing
from star_jax.inference.decode import PrefillBatch, Prompts, SlotState, StopRule
from star_jax.inference.sampling import SamplingParams
from star_jax.inference.scheduler import Bucket
from star_jax.inference.slot_batch import DeviceSlots, Policy
from star_jax.models import kv_cache, stacking
from star_jax.models.abstract_params import abstract_params, graph, with_shardings
from star_jax.models.config import ModelConfig
from star_jax.models.kv_cache import PrefixTokens
from star_jax.models.params import Params, as_policy
from star_jax.models.transformer import ANY, Decoder, Layout
from star_jax.runtime import sharding

_KV = ("layers", "batch", "kv_heads", None, None)  # of a row: head_dim and length in either order
_PREFIX = ("layers", "kv_heads", "head_dim", "length")

# (function, arguments, out=, donate=) -> the lowered program, as `programs.lowered`
Lower = Callable[..., Any]
# (name, arguments) -> what that program gives
Run = Callable[..., Any]


class Sampling:
    """The programs of sampling.

    Attributes:
        shared: whether rows have the few-shot prompt before them: one or both.
        mesh, stop, selection, run: as given.
        shapes: to sample in.
        shards: that slots are shared out to.
        read_at_a_time: tokens of prompts, of a shard: more where waves wait for the host.
        weights: shapes of the weights as they are sampled with.
        slot_steps: steps of all slots so far.
        busy: those of them that a row was in.

    Args:
        config: of the decoder.
        mesh: all devices.
        shapes: to sample in.
        prefix: places of the few-shot prompt; 0 for runs that have none.
        bare: whether some rows do without it.
        stop, selection: how rows end and draw.
        lower, run: of `Programs`.
    """

    def __init__(
        self,
        config: ModelConfig,
        mesh: Mesh,
        *,
        shapes: Sequence[Bucket],
        prefix: int,
        bare: bool,
        stop: StopRule,
        selection: SamplingParams,
        lower: Lower,
        run: Run,
    ) -> None:
        self.mesh, self.config, self.run = mesh, config, run
        self.shards = sharding.batch_multiple(mesh)
        self.read_at_a_time = 512 if sharding.of_cpus(mesh) else 2048
        self._lower, self.stop, self.selection = lower, stop, selection
        self._prefix, self.shapes = prefix, shapes
        self.shared = tuple(sorted({bool(prefix), bool(prefix) and not bare}))
        self._params = abstract_params(config, mesh)
        self._graph, self.weights = graph(config), self._params
        self._laid_out = stacking.is_unstacked_on(mesh) or config.dtype != config.weights
        if self._laid_out:
            self._graph, weights = nnx.split(nnx.eval_shape(self._lay_out, self._params))
            self.weights = with_shardings(weights, mesh)
        self._shaped = functools.partial(sharding.abstract, mesh)
        self.slot_steps = self.busy = 0

    def counts(self) -> tuple[int, int]:
        """`slot_steps` and `busy`."""
        return self.slot_steps, self.busy

    def programs(self) -> dict[Any, Callable[[], Any]]:
        """What is to be compiled, lowered when it is called: first what the first step needs."""
        found: dict[Any, Callable[[], Any]] = {}
        if self._laid_out:
            found["lay out"] = self._lower_lay_out
        if self._prefix:
            found["prefix"] = self._lower_prefix
        for shared, shape in itertools.product(reversed(self.shared), self.shapes):
            found["open", shape] = functools.partial(self._lower_open, shape)
            found["admit", shape, shared] = functools.partial(self._lower_admit, shape, shared)
            most = buckets.page_ring(shape.max_new_tokens).pages
            for blocks in range(1, most + 1):
                if blocks == 2:
                    found["block", shape] = functools.partial(self._lower_block, shape)
                found["advance", shape, blocks, shared] = functools.partial(
                    self._lower_advance, shape, blocks, shared
                )
            for before, after in itertools.pairwise((shape, *buckets.fewer(shape, self.shards))):
                for blocks in range(1 if before == shape else most, most + 1):
                    found["shrink", before, blocks] = functools.partial(
                        self._lower_shrink, before, blocks, after
                    )
                found["advance", after, most, shared] = functools.partial(
                    self._lower_advance, after, most, shared
                )
        return found

    def lay_out(self, params: Params) -> Params:
        """The weights as they are sampled with: matrices in the type of the computation.

        On a CPU the layers are apart too.
        """
        return self.run("lay out", params) if self._laid_out else params

    def policy(
        self, weights: Params, few_shot: Sequence[int] = (), *, greedy: bool = False
    ) -> Policy:
        """What samples with `weights`, laid out, behind the few-shot prompt of these tokens.

        With `greedy` it takes the likeliest token, whatever the temperature.
        """
        prefix = self.run("prefix", weights, self.few_shot(few_shot)) if few_shot else None
        chosen = (
            sharding.device_put(self.mesh, np.bool_(greedy)) if self.selection.temperature else None
        )
        return Policy(weights, prefix, chosen)

    def few_shot(self, tokens: Sequence[int]) -> PrefixTokens:
        """The tokens of a few-shot prompt on the devices."""
        padded = np.zeros((self._prefix,), np.int32)
        padded[: len(tokens)] = tokens
        return PrefixTokens(
            *(sharding.device_put(self.mesh, x) for x in (padded, np.int32(len(tokens))))
        )

    def abstract_few_shot(self) -> PrefixTokens:
        """Its shapes."""
        return PrefixTokens(self._shaped((self._prefix,), np.int32), self._shaped((), np.int32))

    def open(self, policy: Policy, seed: tuple[int, int, int], shape: Bucket) -> DeviceSlots:
        """Slots without rows; `seed` and a row's number key its draws."""
        return DeviceSlots(self, policy, seed, shape)

    def model(self, weights: Params) -> Decoder:
        """The decoder with weights that are laid out."""
        return nnx.merge(self._graph, weights)

    def _placed(self, tree: Any, axes: Callable[[int], tuple[str | None, ...]]) -> Any:
        """Shapes with shardings; `axes` are those of a leaf by its rank."""

        def place(x: Any) -> Any:
            layout = sharding.divisible_sharding(self.mesh, x.shape, axes(x.ndim))
            return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=layout)

        return jax.tree.map(place, tree)

    def abstract_prefix(self, shared: bool = True) -> kv_cache.Prefix | None:
        """The few-shot prompt's shapes; None unless it is `shared`."""
        if not shared:
            return None
        shapes = jax.eval_shape(self._read, self.weights, self.abstract_few_shot())
        return self._placed(shapes, lambda rank: _PREFIX[-rank:] if rank else ())

    def abstract_prompts(self, rows: int, shape: Bucket) -> Prompts:
        """Shapes of so many prompts."""
        each = self._shaped((rows,), np.int32, "batch")
        tokens = self._shaped((rows, shape.prompt_length), np.int32, "batch")
        return Prompts(tokens, each, each, self._shaped((3,), np.uint32))

    def _abstract_slots(self, shape: Bucket, blocks: int = 1) -> SlotState:
        def axes(rank: int) -> tuple[str | None, ...]:
            return _KV[-rank:] if rank >= len(_KV) - 1 else ("batch", None)[:rank]

        found = jax.eval_shape(lambda weights: self._empty(weights, shape), self.weights)
        slots = self._placed(found, axes)
        return decode.with_ring(slots, slots.cache.ring * blocks)

    def _empty(self, weights: Params, shape: Bucket) -> SlotState:
        given: dict[str, Any] = {"budget": shape.max_new_tokens, "stop": self.stop}
        return decode.empty_slots(self.model(weights), shape.rows, shape.prompt_length, **given)

    def _read(self, weights: Params, shown: PrefixTokens) -> kv_cache.Prefix:
        return kv_cache.make_prefix(self.model(weights), shown.tokens, shown.length)

    def _lay_out(self, params: Params) -> Decoder:
        policy = as_policy(params, self.config.dtype)
        model = nnx.merge(graph(self.config), policy)
        return model.apart() if stacking.is_unstacked_on(self.mesh) else model

    def layout(self, rows: int) -> Layout:
        """Of a step's activations: split as the weights they meet, where these are by width.

        Activations then go over the links and weights do not: of a layer some 44 E bytes a row,
        in the place of 24 E E. That is less for up to about E / 2 rows.
        """

        def lay(x: jax.Array) -> jax.Array:
            return sharding.split(self.mesh, x, "rows", None, "embed")

        few = rows // self.mesh.shape["data"] <= self.config.width // 2
        return Layout(lay, lay) if few and self.mesh.shape["fsdp"] > 1 else ANY

    def _lower_lay_out(self) -> Any:
        def lay_out(params: Params) -> Params:
            return nnx.split(self._lay_out(params))[1]

        return self._lower(lay_out, self._params, out=self.weights)

    def _lower_prefix(self) -> Any:
        shown, out = self.abstract_few_shot(), self.abstract_prefix()
        return self._lower(self._read, self.weights, shown, out=out)

    def _lower_open(self, shape: Bucket) -> Any:
        def open_(weights: Params) -> SlotState:
            return self._empty(weights, shape)

        return self._lower(open_, self.weights, out=self._abstract_slots(shape))

    def _lower_block(self, shape: Bucket) -> Any:
        [block] = self._abstract_slots(shape).cache.ring
        return self._lower(kv_cache.empty_like, block, out=block)

    def _lower_shrink(self, shape: Bucket, blocks: int, after: Bucket) -> Any:
        most = buckets.page_ring(shape.max_new_tokens).pages
        slots, out = self._abstract_slots(shape, blocks), self._abstract_slots(after, most)
        places = self._shaped((after.rows,), np.int32, "batch")

        def shrink(slots: SlotState, places: Any) -> SlotState:
            return decode.shrink(slots, places, most, self.shards)

        return self._lower(shrink, slots, places, out=out)

    def _how(self, greedy: jax.Array | None) -> dict[str, Any]:
        """How rows end and draw."""
        return {"stop": self.stop, "selection": dataclasses.replace(self.selection, greedy=greedy)}

    def _abstract_greedy(self) -> Any:
        return self._shaped((), np.bool_) if self.selection.temperature else None

    def _lower_admit(self, shape: Bucket, shared: bool) -> Any:
        def admit(
            weights: Params, slots: SlotState, new: PrefillBatch, prefix: Any, greedy: Any
        ) -> SlotState:
            how = self._how(greedy)
            return decode.admit(self.model(weights), slots, new, prefix, **how)

        slots = decode.with_ring(self._abstract_slots(shape), ())
        room = prefill_packing.prefill_budget(shape, self.shards, self.read_at_a_time)
        token = self._shaped((room.groups, room.tokens), np.int32, "batch")
        each = self._shaped((room.groups, room.rows), np.int32, "batch")
        seed = self._shaped((3,), np.uint32)
        new = PrefillBatch(token, token, token, each, each, each, each, seed)
        given = (self.weights, slots, new, self.abstract_prefix(shared), self._abstract_greedy())
        return self._lower(admit, *given, out=slots, donate=(1,))

    def _lower_advance(self, shape: Bucket, blocks: int, shared: bool) -> Any:
        def advance(
            weights: Params, slots: SlotState, prefix: Any, seed: Any, wanted: Any, greedy: Any
        ) -> Any:
            how = self._how(greedy) | {"layout": self.layout(shape.rows), "wanted": wanted}
            slots = decode.advance(self.model(weights), slots, prefix, seed, **how)
            generated = slots.rows.generated
            told = (generated.length, generated.finished, slots.cache.cursor, slots.busy)
            return slots, told

        slots = self._abstract_slots(shape, blocks)
        seed, count = self._shaped((3,), np.uint32), self._shaped((), np.int32)
        length, finished = (self._shaped((shape.rows,), kind) for kind in (np.int32, np.bool_))
        told = (length, finished, count, count)
        given = (self.weights, slots, self.abstract_prefix(shared), seed, count)
        given += (self._abstract_greedy(),)
        return self._lower(advance, *given, out=(slots, told), donate=(1,))
