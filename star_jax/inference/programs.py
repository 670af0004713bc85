"""The compiled programs of sampling: the pure functions of `decode.py` and `admission.py`.

There is one of each for every bucket. `inference/slot_batch.py` calls them.
"""

import dataclasses
import functools
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from star_jax.inference import abstract, admission, buckets, decode, prefill_packing
from star_jax.inference.admission import NewRows, PrefillBatch
from star_jax.inference.buckets import Bucket
from star_jax.inference.decode import SlotState
from star_jax.inference.prefill_packing import PrefillBudget
from star_jax.inference.sampling import SamplingParams
from star_jax.inference.spec import SamplingSpec
from star_jax.models import kv_cache, prefix_tokens, stacking
from star_jax.models.abstract_params import abstract_params, graph, with_shardings
from star_jax.models.config import ModelConfig
from star_jax.models.kv_cache import KVPage, Prefix
from star_jax.models.params import Params, as_policy
from star_jax.models.prefix_tokens import PrefixTokens
from star_jax.models.prompt_pool import PromptPool
from star_jax.models.transformer import ANY_LAYOUT, Decoder, Layout
from star_jax.runtime import sharding
from star_jax.runtime.compile import Compiler, Program, Signature

Greedy = jax.Array | None  # [] bool, True overrides the temperature; None where that is 0


@dataclasses.dataclass(frozen=True)
class Policy:
    """The weights and the few-shot prompt that rows are sampled with.

    Attributes:
        weights: weights from `SamplingPrograms.lay_out`.
        prefix: keys and values of the few-shot prompt, computed once; None without one.
        greedy: [] bool, True overrides the temperature; None where the temperature is 0.
    """

    weights: Params
    prefix: Prefix | None
    greedy: Greedy = None


class Progress(NamedTuple):
    """The values that the host reads after each call of an "advance" program.

    Attributes:
        length: number [B] int32 of tokens that each row has written.
        finished: [B] bool, True for rows that the stop rule has ended.
        steps: [] int32, decoding steps since the slots were opened.
        busy: [] int32, steps in which a slot's row wrote, summed over slots.
    """

    length: jax.Array
    finished: jax.Array
    steps: jax.Array
    busy: jax.Array


Prefill = Program[[Params, PrefillBatch, Prefix | None], PromptPool]
Admit = Program[[SlotState, PromptPool, NewRows, Greedy], SlotState]
Advance = Program[
    [Params, SlotState, Prefix | None, jax.Array, jax.Array, Greedy], tuple[SlotState, Progress]
]


class SamplingPrograms:
    """The programs of sampling, added to a compiler in the order of their first use.

    Attributes:
        config, mesh, spec: arguments of the constructor.
        shards: number of devices that the slots are split over.
        prefill_tokens: most prompt tokens that a shard prefills at a time.
        weights: shapes of the weights that rows are sampled with.
        open: programs that create empty slots, by bucket.
        prefill: programs that read prompts, by bucket and "with a prefix".
        admit: programs that put rows of these prompts into slots, by bucket.
        advance: programs that write tokens, by bucket, number of pages and "with a prefix".
        empty_page: programs that create an empty page like their argument, by bucket.
        shrink: programs that move rows into fewer slots, by bucket and number of pages.

    Args:
        compiler: compiler of the programs.
        config: configuration of the decoder.
        mesh: all devices.
        spec: shapes and rules to compile for.
    """

    def __init__(
        self, compiler: Compiler, config: ModelConfig, mesh: Mesh, spec: SamplingSpec
    ) -> None:
        self.config, self.mesh, self.spec = config, mesh, spec
        self.shards = sharding.batch_multiple(mesh)
        # More tokens on accelerators, which would wait for the host otherwise.
        self.prefill_tokens = 512 if sharding.of_cpus(mesh) else 2048
        self._compiler = compiler
        self._params = abstract_params(config, mesh)
        self._graph, self.weights = graph(config), self._params
        self._lay_out: Program[[Params], Params] | None = None
        if stacking.is_unstacked_on(mesh) or config.compute.dtype != config.compute.param_dtype:
            self._graph, weights = nnx.split(nnx.eval_shape(self._unstacked_policy, self._params))
            self.weights = with_shardings(weights, mesh)
            self._lay_out = self._add_lay_out()
        self._prefix = self._add_prefix() if spec.prefix_length else None
        self.open: dict[Bucket, Program[[Params], SlotState]] = {}
        self.empty_page: dict[Bucket, Program[[KVPage], KVPage]] = {}
        self.shrink: dict[tuple[Bucket, int], Program[[SlotState, jax.Array], SlotState]] = {}
        self.prefill: dict[tuple[Bucket, bool], Prefill] = {}
        self.admit: dict[Bucket, Admit] = {}
        self.advance: dict[tuple[Bucket, int, bool], Advance] = {}
        for with_prefix, bucket in itertools.product(reversed(spec.with_prefix), spec.buckets):
            self._add_bucket(bucket, with_prefix)

    def _add_bucket(self, bucket: Bucket, with_prefix: bool) -> None:
        first = bucket not in self.open
        if first:
            self.open[bucket] = self._add_open(bucket)
        self.prefill[bucket, with_prefix] = self._add_prefill(bucket, with_prefix)
        if first:
            self.admit[bucket] = self._add_admit(bucket)
        most = buckets.page_ring(bucket.max_new_tokens).pages
        for pages in range(1, most + 1):
            if pages == 2 and first:
                self.empty_page[bucket] = self._add_empty_page(bucket)
            self.advance[bucket, pages, with_prefix] = self._add_advance(bucket, pages, with_prefix)
        for before, after in itertools.pairwise((bucket, *buckets.fewer(bucket, self.shards))):
            for pages in range(1 if before == bucket else most, most + 1) if first else ():
                self.shrink[before, pages] = self._add_shrink(before, pages, after)
            self.advance[after, most, with_prefix] = self._add_advance(after, most, with_prefix)

    def lay_out(self, params: Params) -> Params:
        """Returns the weights to sample with: matrices in the type of the computation.

        On a CPU the layers are unstacked too.
        """
        return self._lay_out(params) if self._lay_out else params

    def policy(
        self, weights: Params, few_shot: Sequence[int] = (), *, greedy: bool = False
    ) -> Policy:
        """Returns a policy of weights from `lay_out` and the token ids of a few-shot prompt.

        With `greedy` it takes the likeliest token whatever the temperature is.
        """
        prefix = None
        if few_shot and self._prefix:
            prefix = self._prefix(weights, self.prefix_tokens(few_shot))
        flag = sharding.device_put(self.mesh, np.bool_(greedy)) if self.spec.draws else None
        return Policy(weights, prefix, flag)

    def prefix_tokens(self, tokens: Sequence[int]) -> PrefixTokens:
        """Puts the tokens of a few-shot prompt on the devices."""
        return prefix_tokens.device_put(self.mesh, tokens, self.spec.prefix_length)

    def owners(self, rows: int) -> list[int]:
        """Returns the process that reads the new tokens of each row of a batch."""
        return sharding.owners(self.mesh, rows)

    def budget(self, bucket: Bucket) -> PrefillBudget:
        """Returns the shape of the bucket's prefill batches."""
        return prefill_packing.prefill_budget(bucket, self.shards, self.prefill_tokens)

    def model(self, weights: Params) -> Decoder:
        """Returns the decoder with weights from `lay_out`."""
        return nnx.merge(self._graph, weights)

    def layout(self, rows: int) -> Layout:
        """Returns the layout of a decoding step: split by width, if the weights are, for few rows.

        Activations are then sent between devices instead of weights: in a layer some 44 E bytes a
        row instead of 24 E E. That is less for up to about E / 2 rows.
        """

        def lay(x: jax.Array) -> jax.Array:
            return sharding.split(self.mesh, x, "rows", None, "embed")

        few = rows // self.mesh.shape["data"] <= self.config.width // 2
        return Layout(lay, lay) if few and self.mesh.shape["fsdp"] > 1 else ANY_LAYOUT

    def abstract_prefix(self, with_prefix: bool = True) -> Prefix | None:
        """Returns shapes and shardings of the few-shot prompt's KV cache; None without one."""
        if not with_prefix:
            return None
        tokens = prefix_tokens.abstract(self.mesh, self.spec.prefix_length)
        shapes = jax.eval_shape(self._prefill_prefix, self.weights, tokens)
        return abstract.prefix(self.mesh, shapes)

    def _abstract(self, shape: tuple[int, ...], dtype: Any, *axes: str | None) -> Any:
        return sharding.abstract(self.mesh, shape, dtype, *axes)

    def _abstract_slots(self, bucket: Bucket, pages: int = 1) -> SlotState:
        empty = functools.partial(self._empty, bucket)
        slots = abstract.slots(self.mesh, jax.eval_shape(empty, self.weights))
        return decode.with_ring(slots, slots.cache.ring * pages)

    def _abstract_pool(self, bucket: Bucket) -> PromptPool:
        """Returns shapes and shardings of a pool; they do not depend on the few-shot prompt."""
        batch = abstract.prefill_batch(self.mesh, self.budget(bucket))
        prefill = functools.partial(self._prefill, bucket)
        return abstract.pool(self.mesh, jax.eval_shape(prefill, self.weights, batch, None))

    def _prefill(
        self, bucket: Bucket, weights: Params, batch: PrefillBatch, prefix: Prefix | None
    ) -> PromptPool:
        return admission.prefill(self.model(weights), batch, prefix, bucket.prompt_length)

    def _empty(self, bucket: Bucket, weights: Params) -> SlotState:
        return decode.empty_slots(
            self.model(weights),
            bucket.rows,
            bucket.prompt_length,
            max_new_tokens=bucket.max_new_tokens,
            stop=self.spec.stop,
        )

    def _prefill_prefix(self, weights: Params, tokens: PrefixTokens) -> Prefix:
        return kv_cache.make_prefix(self.model(weights), tokens.tokens, tokens.length)

    def _unstacked_policy(self, params: Params) -> Decoder:
        model = nnx.merge(graph(self.config), as_policy(params, self.config.compute.dtype))
        return model.unstacked() if stacking.is_unstacked_on(self.mesh) else model

    def _params_at(self, greedy: Greedy) -> SamplingParams:
        return dataclasses.replace(self.spec.params, greedy=greedy)

    def _abstract_greedy(self) -> Any:
        return self._abstract((), np.bool_) if self.spec.draws else None

    def _add_lay_out(self) -> Program[[Params], Params]:
        def lay_out(params: Params) -> Params:
            return nnx.split(self._unstacked_policy(params))[1]

        return self._compiler.add(
            "lay out", lay_out, lambda: Signature((self._params,), self.weights)
        )

    def _add_prefix(self) -> Program[[Params, PrefixTokens], Prefix]:
        def signature() -> Signature:
            tokens = prefix_tokens.abstract(self.mesh, self.spec.prefix_length)
            return Signature((self.weights, tokens), self.abstract_prefix())

        return self._compiler.add("prefix", self._prefill_prefix, signature)

    def _add_open(self, bucket: Bucket) -> Program[[Params], SlotState]:
        def open_(weights: Params) -> SlotState:
            return self._empty(bucket, weights)

        return self._compiler.add(
            f"open {bucket}",
            open_,
            lambda: Signature((self.weights,), self._abstract_slots(bucket)),
        )

    def _add_empty_page(self, bucket: Bucket) -> Program[[KVPage], KVPage]:
        def signature() -> Signature:
            [page] = self._abstract_slots(bucket).cache.ring
            return Signature((page,), page)

        return self._compiler.add(f"empty page {bucket}", kv_cache.empty_like, signature)

    def _add_shrink(
        self, before: Bucket, pages: int, after: Bucket
    ) -> Program[[SlotState, jax.Array], SlotState]:
        most = buckets.page_ring(before.max_new_tokens).pages

        def shrink(slots: SlotState, indices: jax.Array) -> SlotState:
            return decode.shrink(slots, indices, most, self.shards)

        def signature() -> Signature:
            indices = self._abstract((after.rows,), np.int32, "batch")
            slots = self._abstract_slots(before, pages)
            return Signature((slots, indices), self._abstract_slots(after, most))

        return self._compiler.add(f"shrink {before} of {pages} pages", shrink, signature)

    def _add_prefill(self, bucket: Bucket, with_prefix: bool) -> Prefill:
        def signature() -> Signature:
            batch = abstract.prefill_batch(self.mesh, self.budget(bucket))
            arguments = (self.weights, batch, self.abstract_prefix(with_prefix))
            return Signature(arguments, self._abstract_pool(bucket))

        prefill = functools.partial(self._prefill, bucket)
        return self._compiler.add(f"prefill {bucket} {with_prefix=}", prefill, signature)

    def _add_admit(self, bucket: Bucket) -> Admit:
        def admit(slots: SlotState, pool: PromptPool, new: NewRows, greedy: Greedy) -> SlotState:
            params = self._params_at(greedy)
            return admission.admit(slots, pool, new, stop=self.spec.stop, selection=params)

        def signature() -> Signature:
            slots = decode.with_ring(self._abstract_slots(bucket), ())
            new = abstract.new_rows(self.mesh, self.budget(bucket))
            arguments = (slots, self._abstract_pool(bucket), new, self._abstract_greedy())
            return Signature(arguments, slots, donate=(0,))

        return self._compiler.add(f"admit {bucket}", admit, signature)

    def _add_advance(self, bucket: Bucket, pages: int, with_prefix: bool) -> Advance:
        def advance(
            weights: Params,
            slots: SlotState,
            prefix: Prefix | None,
            seed: jax.Array,
            wanted: jax.Array,
            greedy: Greedy,
        ) -> tuple[SlotState, Progress]:
            slots = decode.advance(
                self.model(weights),
                slots,
                prefix,
                seed,
                stop=self.spec.stop,
                selection=self._params_at(greedy),
                wanted=wanted,
                layout=self.layout(bucket.rows),
            )
            length, finished = slots.rows.generated.length, slots.rows.generated.finished
            steps, busy = slots.cache.cursor, slots.busy
            return slots, Progress(length=length, finished=finished, steps=steps, busy=busy)

        def signature() -> Signature:
            slots = self._abstract_slots(bucket, pages)
            seed, count = abstract.seed(self.mesh), self._abstract((), np.int32)
            length, finished = (self._abstract((bucket.rows,), t) for t in (np.int32, np.bool_))
            progress = Progress(length=length, finished=finished, steps=count, busy=count)
            prefix, greedy = self.abstract_prefix(with_prefix), self._abstract_greedy()
            arguments = (self.weights, slots, prefix, seed, count, greedy)
            return Signature(arguments, (slots, progress), donate=(1,))

        return self._compiler.add(
            f"advance {bucket} of {pages} pages {with_prefix=}", advance, signature
        )
