"""The decoding loop: pure functions of static shapes.

Rows live in slots. New rows are put into some slots (`inference/admission.py`) while the others are
at any position; `advance` writes tokens until a number of slots have ended. `decode` does all of it
in one program, for rows that start together.

Shapes: B rows, P prompt positions, N max_new_tokens, V vocabulary, K bytes of the stop text but
one.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from star_jax.inference import buckets
from star_jax.inference.sampling import BROKEN, SamplingParams, is_broken, sample_tokens
from star_jax.inference.stop_rule import StopRule, match
from star_jax.models import kv_cache
from star_jax.models.transformer import ANY_LAYOUT, Decoder, Layout

Array = Any  # jax.Array; before it is put on the devices, NumPy's


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PaddedRows:
    """Rows of tokens, padded on the left.

    Attributes:
        tokens: [B, P] int32.
        start: [B] int32, index of a row's first token in `tokens`; P marks an empty row.
    """

    tokens: Array
    start: Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Prompts(PaddedRows):
    """A batch of prompts.

    Attributes:
        number: number [B] int32 of each row; with the seed it determines the row's random draws,
            whatever the other rows are.
        seed: random seed [3] uint32: run, round, stream.
    """

    number: Array
    seed: Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Generated:
    """The new tokens of the rows.

    Attributes:
        tokens: token ids [B, N] int32, padded with zeros on the right; end-of-text is included.
            `BROKEN` is the last token of a row whose logits are not finite.
        length: number [B] int32 of tokens written; N in a broken row, which is not finished.
        finished: [B] bool, True for a row that the stop rule ended; False for one that is running,
            broken or truncated at N tokens.
    """

    tokens: jax.Array
    length: jax.Array
    finished: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class RowState:
    """The state of the rows, except their keys and values.

    Attributes:
        token: last token [B] int32 written, which is fed next.
        generated: tokens written so far.
        tail: last bytes [B, K] uint8 written, to match the stop text.
        number: number [B] int32 of the row, which determines its random draws.
    """

    token: jax.Array
    generated: Generated
    tail: jax.Array
    number: jax.Array

    def ended(self) -> jax.Array:
        """Returns [B] bool: the stop rule or `max_new_tokens` has ended the row, or it is empty."""
        return self.generated.finished | (self.generated.length >= self.generated.tokens.shape[1])


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SlotState:
    """The state of all slots.

    Attributes:
        rows: rows in the slots.
        cache: keys and values of their prompts and new tokens.
        busy: [] int32, decoding steps in which a slot's row wrote, summed over slots; at most B
            times `Cache.cursor`.
    """

    rows: RowState
    cache: kv_cache.Cache
    busy: jax.Array


def row_keys(seed: jax.Array, number_B: jax.Array) -> jax.Array:
    """Returns the rows' random keys [B] from their numbers and `seed` (run, round, stream)."""
    key = jax.random.key(seed[0])
    for part in seed[1:]:
        key = jax.random.fold_in(key, part)
    return jax.vmap(jax.random.fold_in, (None, 0))(key, number_B)


def decode(
    model: Decoder,
    prompts: Prompts,
    prefix: kv_cache.Prefix | None,
    *,
    max_new_tokens: int,
    stop: StopRule,
    selection: SamplingParams,
    unstacked: bool = False,
    layout: Layout = ANY_LAYOUT,
) -> Generated:
    """Writes up to `max_new_tokens` tokens a row, until the stop rule has ended every row.

    Args:
        model: decoder.
        prompts: prompts of all rows.
        prefix: keys and values of the few-shot prompt; None without one.
        max_new_tokens: most new tokens of a row.
        stop: rule that ends rows.
        selection: how tokens are drawn.
        unstacked: True to unstack the layers first, which is faster on a CPU and takes a second
            copy of the weights.
        layout: sharding of the activations of a decoding step.
    """
    if unstacked:
        model, prefix = model.unstacked(), kv_cache.unstacked(prefix) if prefix else None
    slots = prefill_slots(
        model, prompts, prefix, max_new_tokens=max_new_tokens, stop=stop, selection=selection
    )
    for page in range(buckets.page_ring(max_new_tokens).pages):
        if page:
            ring = slots.cache.ring
            slots = with_ring(slots, (kv_cache.empty_like(ring[0]), *ring))
        slots = advance(
            model, slots, prefix, prompts.seed, stop=stop, selection=selection, layout=layout
        )
    return slots.rows.generated


def empty_slots(
    model: Decoder, rows: int, prompt_length: int, *, max_new_tokens: int, stop: StopRule
) -> SlotState:
    """Returns slots without rows, with one empty page in the ring."""
    number, finished = jnp.zeros((rows,), jnp.int32), jnp.ones((rows,), bool)
    empty = unwritten(number, finished, max_new_tokens=max_new_tokens, stop=stop)
    cache = kv_cache.empty_cache(
        model, rows, prompt_length, buckets.page_ring(max_new_tokens).page_length
    )
    return SlotState(empty, cache, jnp.int32(0))


def prefill_slots(
    model: Decoder,
    prompts: Prompts,
    prefix: kv_cache.Prefix | None,
    *,
    max_new_tokens: int,
    stop: StopRule,
    selection: SamplingParams,
) -> SlotState:
    """Prefills one row a slot (rows may be empty) and writes the first token of each."""
    finished = prompts.start >= prompts.tokens.shape[1]
    rows = unwritten(prompts.number, finished, max_new_tokens=max_new_tokens, stop=stop)
    logits, prompt = kv_cache.prefill(model, prompts.tokens, prompts.start, prefix)
    rows = write(rows, logits, row_keys(prompts.seed, rows.number), stop, selection)
    return SlotState(
        rows,
        kv_cache.init(model, prompt, buckets.page_ring(max_new_tokens).page_length),
        jnp.int32(0),
    )


def with_ring(slots: SlotState, ring: tuple[kv_cache.KVPage, ...]) -> SlotState:
    """Returns the slots with other pages in the ring; `admission.admit` needs none."""
    return dataclasses.replace(slots, cache=dataclasses.replace(slots.cache, ring=ring))


def shrink(slots: SlotState, indices_C: jax.Array, pages: int, shards: int) -> SlotState:
    """Moves rows into fewer slots.

    Args:
        slots: all slots.
        indices_C: slots to keep, as many of each shard, in the order of shards; rows do not move
            between shards.
        pages: number of pages in the new ring.
        shards: number of devices that the slots are split over.
    """
    rows, count = slots.rows.number.shape[0] // shards, indices_C.shape[0] // shards
    own = indices_C.reshape(shards, count) % rows

    def take(x: jax.Array, axis: int) -> jax.Array:
        parts = x.reshape(*x.shape[:axis], shards, rows, *x.shape[axis + 1 :])
        some = jax.vmap(functools.partial(jnp.take, axis=axis), (axis, 0), axis)(parts, own)
        return some.reshape(*x.shape[:axis], shards * count, *x.shape[axis + 1 :])

    rows_C, cache = jax.tree.map(lambda x: take(x, 0), slots.rows), kv_cache.pick(slots.cache, take)
    more = [kv_cache.empty_like(cache.ring[0])] * (pages - len(cache.ring))
    return with_ring(SlotState(rows_C, cache, slots.busy), (*cache.ring, *more))


def advance(
    model: Decoder,
    slots: SlotState,
    prefix: kv_cache.Prefix | None,
    seed: jax.Array,
    *,
    stop: StopRule,
    selection: SamplingParams,
    wanted: jax.Array | None = None,
    layout: Layout = ANY_LAYOUT,
) -> SlotState:
    """Writes tokens until `wanted` [] slots have ended (None: all), or the first page is full."""
    page_length, cursor = slots.cache.ring[0].positions, slots.cache.cursor
    end = cursor + page_length - cursor % page_length
    keys = row_keys(seed, slots.rows.number)

    def goes_on(slots: SlotState) -> jax.Array:
        ended = slots.rows.ended()
        enough = jnp.all(ended) if wanted is None else jnp.sum(ended) >= wanted
        return ~enough & (slots.cache.cursor < end)

    def body(slots: SlotState) -> SlotState:
        return _step(model, slots, keys, prefix, stop, selection, layout)

    return jax.lax.while_loop(goes_on, body, slots)


def _step(
    model: Decoder,
    slots: SlotState,
    keys_B: jax.Array,
    prefix: kv_cache.Prefix | None,
    stop: StopRule,
    selection: SamplingParams,
    layout: Layout,
) -> SlotState:
    """Writes one token in every row that has not ended."""
    logits, cache = kv_cache.step(model, slots.rows.token, slots.cache, prefix, layout)
    rows = write(slots.rows, logits, keys_B, stop, selection)
    running = jnp.sum(~slots.rows.ended())
    return SlotState(rows, cache, slots.busy + running)


def write(
    rows: RowState,
    logits_BxV: jax.Array,
    keys_B: jax.Array,
    stop: StopRule,
    selection: SamplingParams,
) -> RowState:
    """Draws a token for each row that has not ended, and appends it.

    Args:
        rows: state of the rows.
        logits_BxV: logits of the next token.
        keys_B: keys of the rows (`row_keys`), the same for all tokens of a row.
        stop: rule that ends rows.
        selection: how tokens are drawn.
    """
    old, done = rows.generated, rows.ended()
    keys = jax.vmap(jax.random.fold_in)(keys_B, old.length)
    real = logits_BxV
    if stop.token_bytes.count < logits_BxV.shape[1]:
        real = jnp.where(jnp.arange(real.shape[1]) < stop.token_bytes.count, real, -jnp.inf)
    token = sample_tokens(real, keys, selection)
    broken, token = ~done & is_broken(logits_BxV, token), jnp.where(done, 0, token)
    here = jnp.arange(old.tokens.shape[1]) == old.length[:, None]
    written = jnp.where(broken, BROKEN, token)
    tokens = jnp.where(here & ~done[:, None], written[:, None], old.tokens)
    length = jnp.where(broken, old.tokens.shape[1], old.length + ~done)
    matched, tail = match(rows.tail, token, stop)
    ended = jnp.any(token[:, None] == jnp.asarray(stop.ends, jnp.int32), axis=1)
    finished = old.finished | (~done & ~broken & (ended | matched))
    generated = Generated(tokens, length, finished)
    return RowState(token=token, generated=generated, tail=tail, number=rows.number)


def unwritten(
    number_B: jax.Array, finished_B: jax.Array, *, max_new_tokens: int, stop: StopRule
) -> RowState:
    """Returns rows that have written nothing yet, with these numbers; finished ones are empty."""
    zeros_B = jnp.zeros_like(number_B)
    tokens = jnp.zeros((*zeros_B.shape, max_new_tokens), jnp.int32)
    tail = jnp.zeros((*zeros_B.shape, max(len(stop.text) - 1, 0)), jnp.uint8)
    generated = Generated(tokens, zeros_B, finished_B)
    return RowState(token=zeros_B, generated=generated, tail=tail, number=number_B)
