"""The KV cache: keys and values that a decoding step reads.

There are two kinds. Both are stacks of layers (`models/stacking.py`), unstacked where the model's
blocks are. A `Prefix` holds the few-shot prompt, which all rows share: it is computed once and has
no batch axis. A `Cache` holds each row's own keys and values: those of its prompt, padded on the
left, and a ring for those of its new tokens. All rows share one write cursor, so the update is one
slice in place. A row masks keys older than its own length, so a slot is reused without clearing.

The ring consists of pages, the one being written first, the oldest last. When the first is full,
the oldest becomes the first, or an empty page does while rows need the oldest. So attention never
reads a page that no row has written, and written keys are never copied.

Shapes: L layers, B rows, K heads of keys and values, D head_dim, S prefix tokens, P positions of
the prompt, C positions of a page; packed prompts come in G groups of T tokens.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from star_jax.models import stacking
from star_jax.models.attention import Attend, Layer, attend_sources, plain_segments, within
from star_jax.models.attention_reference import KeySource
from star_jax.models.stacking import Carry, Index, Stacked
from star_jax.models.transformer import ANY_LAYOUT, Decoder, Layout


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Prefix:
    """Keys and values of the few-shot prompt, which all rows share.

    Attributes:
        keys: keys; [L, K, D, S], or L arrays [K, D, S].
        values: values; [L, K, D, S], or L arrays [K, D, S].
        length: [] int32, number of real tokens; the rest is padding (0: there is no prompt).
    """

    keys: Stacked
    values: Stacked
    length: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class KVPage:
    """A page of the rows' own keys and values.

    Attributes:
        keys: keys; [L, B, K, D, C], or L arrays [B, K, D, C].
        values: values; [L, B, K, C, D], or L arrays [B, K, C, D].
    """

    keys: Stacked
    values: Stacked

    @property
    def positions(self) -> int:
        """Number of positions, C."""
        return self.keys[0].shape[-1]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PromptCache(KVPage):
    """The keys and values of the rows' prompts: a page of P positions.

    Attributes:
        start: [B] int32, first position that holds a token of the row; P: an empty row.
    """

    start: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Cache:
    """The rows' own keys and values.

    Attributes:
        prompt: keys and values of the prompts.
        ring: pages of new tokens; the page being written comes first, the oldest last.
        cursor: [] int32, decoding steps so far; the next token goes to position cursor mod C.
        written: [B] int32, tokens that the row has written since its prompt, at most the ring's.
    """

    prompt: PromptCache
    ring: tuple[KVPage, ...]
    cursor: jax.Array
    written: jax.Array


def empty_cache(model: Decoder, rows: int, prompt: int, page_length: int) -> Cache:
    """Returns a cache of empty rows, with prompts of `prompt` and pages of `places` positions."""
    keys, values = _empty_page(model, rows, prompt)
    return init(model, PromptCache(keys, values, jnp.full((rows,), prompt)), page_length)


def init(model: Decoder, prompt: PromptCache, page_length: int) -> Cache:
    """Returns a cache of prompts without new tokens: one empty page of `places` positions."""
    rows = prompt.start.shape[0]
    ring = (KVPage(*_empty_page(model, rows, page_length)),)
    written = jnp.zeros((rows,), jnp.int32)
    return Cache(prompt=prompt, ring=ring, cursor=jnp.int32(0), written=written)


def empty_like(page: KVPage) -> KVPage:
    """Returns an empty page of the same shape."""
    return jax.tree.map(jnp.zeros_like, page)


def pick(cache: Cache, take: Callable[[jax.Array, int], jax.Array]) -> Cache:
    """Returns the cache of some rows: `take` maps an array and its axis of rows to theirs."""

    def take_rows(x: jax.Array) -> jax.Array:
        return stacking.move_bits(lambda x: take(x, _row_axis(x)), x) if x.ndim else x

    return jax.tree.map(take_rows, cache)


def _row_axis(x: jax.Array) -> int:
    """Returns the axis of the rows in a cache's array: after the layers, where it has them."""
    return max(x.ndim - 4, 0)


def unstacked(prefix: Prefix) -> Prefix:
    """Returns the prefix for a model whose blocks are unstacked."""
    keys, values = (stacking.unstack(x) for x in (prefix.keys, prefix.values))
    return dataclasses.replace(prefix, keys=keys, values=values)


def make_prefix(model: Decoder, tokens_S: jax.Array, length: jax.Array) -> Prefix:
    """Computes keys and values of the few-shot prompt; `length` tokens of it are real."""
    size = tokens_S.shape[0]
    position = jnp.arange(size)
    causal = position[:, None] >= position

    def attend(
        layer: Layer, q: jax.Array, k: jax.Array, v: jax.Array, kept: Carry
    ) -> tuple[jax.Array, Carry]:
        # Padding repeats the first key, as a mask of one axis demands (`KeySource.mask`).
        keys = jnp.where(position[:, None] < length, k[0], k[0, :, :1])
        kept = _put(kept, layer, keys.swapaxes(1, 2), v[0].swapaxes(1, 2))
        own = KeySource(k, v, causal & within(layer.window, position, position))
        return attend_sources(layer, q, [own]), kept

    zeros = (_zeros(model, model.config.key_heads, model.config.head_dim, size),) * 2
    _, (keys, values) = model.hidden(tokens_S[None], position[None], attend, zeros)
    return Prefix(keys, values, length)


def prefill(
    model: Decoder, tokens_BxP: jax.Array, start_B: jax.Array, prefix: Prefix | None
) -> tuple[jax.Array, PromptCache]:
    """Runs left-padded prompts; returns the last token's logits [B, V] and the KV cache."""
    rows, size = tokens_BxP.shape
    index = jnp.arange(size)
    causal = index[:, None] >= index
    mask = (causal & (index >= start_B[:, None])[:, None, :])[:, None]
    positions = _positions(index - start_B[:, None], prefix)

    def attend(
        layer: Layer, q: jax.Array, k: jax.Array, v: jax.Array, kept: Carry
    ) -> tuple[jax.Array, Carry]:
        kept = _put(kept, layer, k.swapaxes(2, 3), v)
        own = KeySource(k, v, mask & within(layer.window, index, index))
        return attend_sources(layer, q, [own, *_shared(prefix, layer, positions)]), kept

    page = _empty_page(model, rows, size)
    x, (keys, values) = model.hidden(tokens_BxP, positions, attend, page, given=_stacks(prefix))
    return model.logits(x[:, -1:])[:, 0], PromptCache(keys, values, start_B)


def prefill_packed(
    model: Decoder,
    tokens_GxT: jax.Array,
    segments_GxT: jax.Array,
    positions_GxT: jax.Array,
    end_GxN: jax.Array,
    padding: int,
    prefix: Prefix | None,
) -> tuple[jax.Array, KVPage]:
    """Runs packed prompts; returns the last tokens' logits [G, N, V] and the sequences' KV cache.

    The prompts lie in G sequences of T tokens, at most N in each. The cache has a row for each
    sequence.

    Args:
        model: decoder.
        tokens_GxT: prompts one after the other, and padding after them.
        segments_GxT: segment ids, different in every prompt of a sequence.
        positions_GxT: positions, from 0 in every prompt.
        end_GxN: index in its sequence after each prompt's last token; 0 for an empty row.
        padding: number of positions of the cache before a sequence's first token; they are zero.
        prefix: keys and values of the few-shot prompt before all prompts; None without one.
    """
    positions_GxT = _positions(positions_GxT, prefix)
    inside = attend_segments(segments_GxT, positions_GxT, prefix)

    def attend(
        layer: Layer, q: jax.Array, k: jax.Array, v: jax.Array, kept: Carry
    ) -> tuple[jax.Array, Carry]:
        return inside(layer, q, k, v, ())[0], _put(kept, layer, k.swapaxes(2, 3), v, padding)

    groups, size = tokens_GxT.shape
    page = _empty_page(model, groups, padding + size)
    x, (keys, values) = model.hidden(tokens_GxT, positions_GxT, attend, page, given=_stacks(prefix))
    last = jnp.take_along_axis(x, jnp.maximum(end_GxN - 1, 0)[..., None], axis=1)
    return model.logits(last), KVPage(keys, values)


def step(
    model: Decoder,
    token_B: jax.Array,
    cache: Cache,
    prefix: Prefix | None,
    layout: Layout = ANY_LAYOUT,
) -> tuple[jax.Array, Cache]:
    """Feeds one token a row; returns the next token's logits [B, V] and the cache with this one."""
    prompt, written, (first, *older) = cache.prompt, cache.written[:, None], cache.ring
    length, page, total = prompt.positions, first.positions, first.positions * len(cache.ring)
    at, index = cache.cursor % page, jnp.arange(length)
    # Distance of each key to the fed token, in tokens of its row: [C] a page, [B, P] the prompt.
    behinds = [(at - jnp.arange(page) + page * age) % total for age in range(len(cache.ring))]
    masks = [*(behind <= written for behind in behinds), index >= prompt.start[:, None]]
    behinds += [length - index + written]
    positions = _positions(length - prompt.start[:, None] + written, prefix)

    def attend(
        layer: Layer, q: jax.Array, k: jax.Array, v: jax.Array, kept: Carry
    ) -> tuple[jax.Array, Carry]:
        kept = _put(kept, layer, k.swapaxes(2, 3), v, at)
        own = (*(stacking.take(x, layer.index) for x in kept), *layer.given)
        sources = []
        for part, (mask, behind) in enumerate(zip(masks, behinds, strict=True)):
            keys, values = own[2 * part : 2 * part + 2]
            seen = mask & (behind < layer.window) if layer.window else mask
            sources.append(KeySource(keys, values, seen[:, None, None], cached=True))
        return attend_sources(layer, q, [*sources, *_shared(prefix, layer, positions)]), kept

    read = [x for part in (*older, prompt) for x in (part.keys, part.values)]
    x, (keys, values) = model.hidden(
        token_B[:, None],
        positions,
        attend,
        (first.keys, first.values),
        given=(*read, *_stacks(prefix)),
        layout=layout,
    )
    ring = (KVPage(keys, values), *older)
    cursor, counts = cache.cursor + 1, cache.written + 1
    return model.logits(x)[:, 0], Cache(prompt=prompt, ring=ring, cursor=cursor, written=counts)


def attend_segments(
    segments_BxT: jax.Array,
    positions_BxT: jax.Array,
    prefix: Prefix | None,
    begun_T: jax.Array | None = None,
) -> Attend:
    """Returns causal attention inside each packed segment, and of all segments to the prefix.

    Positions count the prefix; `Decoder.hidden` needs it as the last two of `given`. `begun_T`
    (`attention.segment_starts`) makes long sequences faster; a program of unstacked layers then
    takes half as long again to compile.
    """

    def attend(
        layer: Layer, q: jax.Array, k: jax.Array, v: jax.Array, kept: Carry
    ) -> tuple[jax.Array, Carry]:
        def shared(queries: slice) -> list[KeySource]:
            return _shared(prefix, layer, positions_BxT[:, queries])

        return plain_segments(layer, q, k, v, segments_BxT, begun_T, shared), kept

    return attend


def _shared(prefix: Prefix | None, layer: Layer, positions_BxT: jax.Array) -> list[KeySource]:
    """Returns the prefix as a source of keys: the last two of `Layer.given`."""
    if prefix is None:
        return []
    keys, values = layer.given[-2:]
    position = jnp.arange(keys.shape[2])
    mask = position < prefix.length
    if layer.window:
        mask = mask & within(layer.window, positions_BxT, position)[:, None]
    return [KeySource(keys, values, mask)]


def _stacks(prefix: Prefix | None) -> tuple[Stacked, ...]:
    return () if prefix is None else (prefix.keys, prefix.values)


def _zeros(model: Decoder, *shape: int) -> Stacked:
    """Returns zero keys or values of this shape in all layers, to be written to."""
    empty = jnp.zeros((model.config.layers, *shape), model.config.compute.dtype)
    return stacking.unstack(empty) if model.is_unstacked else empty


def _empty_page(model: Decoder, rows: int, length: int) -> tuple[Stacked, Stacked]:
    """Returns zero keys [.., B, K, D, length] and values [.., B, K, length, D] of rows."""
    heads, size = model.config.key_heads, model.config.head_dim
    return _zeros(model, rows, heads, size, length), _zeros(model, rows, heads, length, size)


def _put(kept: Carry, layer: Layer, k: jax.Array, v: jax.Array, at: Index = 0) -> Carry:
    """Writes one layer's part from position `at` on; positions are the last axis of keys."""
    keys, values = kept
    before = (0,) * (v.ndim - 2)
    return (
        stacking.put(keys, layer.index, k, (*before, 0, at)),
        stacking.put(values, layer.index, v, (*before, at, 0)),
    )


def _positions(own_BxT: jax.Array, prefix: Prefix | None) -> jax.Array:
    """Returns positions counted from the first token of the prefix, or of the row without one."""
    return jnp.maximum(own_BxT, 0) + (0 if prefix is None else prefix.length)
