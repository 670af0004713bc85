"""The decoding loop: pure, of static shapes.

Rows live in slots. `admit` puts newcomers into some of them, whatever the others have come to;
`advance` writes tokens until so many have ended. `decode` is the whole for rows that all begin at
once, as one program.

Shapes: B rows, P prompt places, N max_new_tokens, V vocabulary, K places of the stop window,
R newcomers.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from star_jax.inference import buckets
from star_jax.inference.sampling import BROKEN, SamplingParams, is_broken, sample_tokens
from star_jax.inference.stop_rule import StopRule, match
from star_jax.models import kv_cache
from star_jax.models.transformer import ANY_LAYOUT, Decoder, Layout


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Prompts:
    """One chunk of questions.

    Attributes:
        tokens: [B, P] int32, padded on the left.
        start: [B] int32, the first real place of a row; P marks an empty row.
        number: [B] int32, of each row; with the seed it keys the row's draws, whoever is beside it.
        seed: [3] uint32: run, round, stream.
    """

    tokens: jax.Array
    start: jax.Array
    number: jax.Array
    seed: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Generated:
    """What the rows wrote.

    Attributes:
        tokens: [B, N] int32, padded with zeros on the right; end-of-text is included. `BROKEN` has
            ended a row that could not go on.
        length: [B] int32, tokens written; N in a row that is broken, which is not finished.
        finished: [B] bool, stopped by itself; False means truncated by the budget.
    """

    tokens: jax.Array
    length: jax.Array
    finished: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PrefillBatch:
    """Prompts that lie one after the other in G groups of T tokens, N at most in each; R = G N.

    Attributes:
        tokens: [G, T] int32, padded on the right.
        segments: [G, T] int32, another number in every prompt.
        positions: [G, T] int32, from 0 in every prompt.
        end: [G, N] int32, the place after a prompt's last token; 0: there is no such prompt.
        start: [G, N] int32, the first of P places when it is padded on the left; P: an empty row.
        number: [G, N] int32, as in `Prompts`.
        slot: [G, N] int32, that each gets; B or more for none.
        seed: [3] uint32, as in `Prompts`.
    """

    tokens: jax.Array
    segments: jax.Array
    positions: jax.Array
    end: jax.Array
    start: jax.Array
    number: jax.Array
    slot: jax.Array
    seed: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class RowState:
    """What rows have come to, their keys and values apart.

    Attributes:
        token: [B] int32, the last one written, which is fed next.
        generated: what is written so far.
        tail: [B, K] uint8, the last bytes written, for the stop string.
        number: [B] int32, of the row; its draws follow from it.
    """

    token: jax.Array
    generated: Generated
    tail: jax.Array
    number: jax.Array

    def ended(self) -> jax.Array:
        """[B] bool: it has met its stop or `max_new_tokens`, or is empty."""
        return self.generated.finished | (self.generated.length >= self.generated.tokens.shape[1])


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SlotState:
    """Rows on their way.

    Attributes:
        rows: that are in the slots.
        cache: keys and values of their prompts and rationales.
        busy: [] int32, decoding steps of slots in which a row wrote; at most B `Cache.cursor`.
    """

    rows: RowState
    cache: kv_cache.Cache
    busy: jax.Array


def row_keys(seed: jax.Array, number_B: jax.Array) -> jax.Array:
    """The rows' random keys, [B], from their numbers and those in `seed` (run, round, stream)."""
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
    """Writes up to `max_new_tokens` tokens a row, until every row has met its stop.

    With `apart` the layers are taken out of their stack first: a second copy of the weights, and
    faster on a CPU.
    """
    if unstacked:
        model, prefix = model.unstacked(), kv_cache.unstacked(prefix) if prefix else None
    slots = prefill_slots(
        model, prompts, prefix, max_new_tokens=max_new_tokens, stop=stop, selection=selection
    )
    for more in range(buckets.page_ring(max_new_tokens).pages):
        if more:
            ring = slots.cache.ring
            slots = with_ring(slots, (kv_cache.empty_like(ring[0]), *ring))
        slots = advance(
            model, slots, prefix, prompts.seed, stop=stop, selection=selection, layout=layout
        )
    return slots.rows.generated


def empty_slots(
    model: Decoder, rows: int, prompt_length: int, *, max_new_tokens: int, stop: StopRule
) -> SlotState:
    """Slots without rows: `places` for prompts, and one block of the ring."""
    number, finished = jnp.zeros((rows,), jnp.int32), jnp.ones((rows,), bool)
    unwritten = _unwritten(number, finished, max_new_tokens=max_new_tokens, stop=stop)
    cache = kv_cache.empty_cache(
        model, rows, prompt_length, buckets.page_ring(max_new_tokens).page_length
    )
    return SlotState(unwritten, cache, jnp.int32(0))


def prefill_slots(
    model: Decoder,
    prompts: Prompts,
    prefix: kv_cache.Prefix | None,
    *,
    max_new_tokens: int,
    stop: StopRule,
    selection: SamplingParams,
) -> SlotState:
    """Slots that all get a row, which may be empty; each writes its first token."""
    finished = prompts.start >= prompts.tokens.shape[1]
    rows = _unwritten(prompts.number, finished, max_new_tokens=max_new_tokens, stop=stop)
    logits, asked = kv_cache.prefill(model, prompts.tokens, prompts.start, prefix)
    rows = _write(rows, logits, row_keys(prompts.seed, rows.number), stop, selection)
    return SlotState(
        rows,
        kv_cache.init(model, asked, buckets.page_ring(max_new_tokens).page_length),
        jnp.int32(0),
    )


def admit(
    model: Decoder,
    slots: SlotState,
    new: PrefillBatch,
    prefix: kv_cache.Prefix | None,
    *,
    stop: StopRule,
    selection: SamplingParams,
) -> SlotState:
    """The slots with newcomers in some of them; each writes its first token."""
    places = slots.cache.prompt.positions
    number, slot = new.number.reshape(-1), new.slot.reshape(-1)
    logits, asked = kv_cache.prefill_packed(
        model, new.tokens, new.segments, new.positions, new.end, new.start, places, prefix
    )
    max_new_tokens = slots.rows.generated.tokens.shape[1]
    rows = _unwritten(number, asked.start >= places, max_new_tokens=max_new_tokens, stop=stop)
    rows = _write(rows, logits, row_keys(new.seed, number), stop, selection)

    def put(old: jax.Array, x: jax.Array) -> jax.Array:
        return old.at[slot].set(x, mode="drop")

    both = jax.tree.map(put, slots.rows, rows)
    return dataclasses.replace(slots, rows=both, cache=kv_cache.admit(slots.cache, asked, slot))


def with_ring(slots: SlotState, ring: tuple[kv_cache.KVPage, ...]) -> SlotState:
    """The slots with these blocks in the place of their own; newcomers need none."""
    return dataclasses.replace(slots, cache=dataclasses.replace(slots.cache, ring=ring))


def shrink(slots: SlotState, places_C: jax.Array, blocks: int, shards: int) -> SlotState:
    """The C slots in `places`, with a ring of so many blocks.

    Nothing moves between shards: of each of the `shards` there are equally many, in order.
    """
    rows, count = slots.rows.number.shape[0] // shards, places_C.shape[0] // shards
    own = places_C.reshape(shards, count) % rows

    def take(x: jax.Array, axis: int) -> jax.Array:
        parts = x.reshape(*x.shape[:axis], shards, rows, *x.shape[axis + 1 :])
        found = jax.vmap(functools.partial(jnp.take, axis=axis), (axis, 0), axis)(parts, own)
        return found.reshape(*x.shape[:axis], shards * count, *x.shape[axis + 1 :])

    rows_C, cache = jax.tree.map(lambda x: take(x, 0), slots.rows), kv_cache.pick(slots.cache, take)
    more = [kv_cache.empty_like(cache.ring[0])] * (blocks - len(cache.ring))
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
    """Writes tokens until `wanted` [] slots have ended (None: all), or the ring's block is full."""
    places, begun = slots.cache.ring[0].positions, slots.cache.cursor
    end = begun + places - begun % places
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
    """One token more for every row that has not ended."""
    logits, cache = kv_cache.step(model, slots.rows.token, slots.cache, prefix, layout)
    rows = _write(slots.rows, logits, keys_B, stop, selection)
    going = jnp.sum(~slots.rows.ended())
    return SlotState(rows, cache, slots.busy + going)


def _write(
    rows: RowState,
    logits_BxV: jax.Array,
    keys_B: jax.Array,
    stop: StopRule,
    selection: SamplingParams,
) -> RowState:
    """The rows with the token that is drawn for each that has not ended."""
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
    return RowState(token, Generated(tokens, length, finished), tail, rows.number)


def _unwritten(
    number_B: jax.Array, finished_B: jax.Array, *, max_new_tokens: int, stop: StopRule
) -> RowState:
    """Rows that have written nothing yet."""
    none = jnp.zeros_like(number_B)
    generated = Generated(jnp.zeros((*none.shape, max_new_tokens), jnp.int32), none, finished_B)
    tail = jnp.zeros((*none.shape, max(len(stop.text) - 1, 0)), jnp.uint8)
    return RowState(none, generated, tail, number_B)
