"""Keys and values kept from one decoding step to the next.

Two kinds, both stacks of layers (`models/stacking.py`), taken apart where the model's blocks are. A
`Prefix` holds the few-shot prompt that all rows share: computed once, no batch axis. A `Cache`
holds each row's own: those of its prompt, padded on the left, and a ring for what it writes after
that. All rows write their next token at the same place of the ring, whenever they began, so the
update is one slice in place; a row sees as many of the places behind it as it has written.

The ring is in blocks, the one that is written first and the oldest last. When it is full, the
oldest is to become the first, or an empty one where rows still need that. So attention never reads
what none has written, and nothing that is written is ever copied.

Shapes: L layers, B rows, K heads of keys and values, D head_dim, S prefix tokens, P places of the
prompt, C places of a block of the ring; R new rows, whose prompts come in G groups.
"""

import dataclasses
import functools
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
    """The shared few-shot prompt.

    Attributes:
        keys: [L, K, D, S], or apart.
        values: [L, K, D, S], or apart.
        length: [] int32, tokens that are filled; the rest is padding (0: there is no prompt).
    """

    keys: Stacked
    values: Stacked
    length: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class KVPage:
    """Keys and values that rows have of their own: a part of the ring.

    Attributes:
        keys: [L, B, K, D, C], or apart.
        values: [L, B, K, C, D], or apart.
    """

    keys: Stacked
    values: Stacked

    @property
    def positions(self) -> int:
        """C."""
        return self.keys[0].shape[-1]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PromptCache(KVPage):
    """The rows' prompts: a block of P places.

    Attributes:
        start: [B] int32, the first place that holds a token of the row; P: an empty row.
    """

    start: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Cache:
    """The rows' own keys and values.

    Attributes:
        asked: their prompts.
        ring: its blocks.
        cursor: [] int32, decoding steps so far; the next token goes to the place cursor mod C.
        written: [B] int32, tokens that the row has written since its prompt; at most the ring's.
    """

    prompt: PromptCache
    ring: tuple[KVPage, ...]
    cursor: jax.Array
    written: jax.Array


def empty_cache(model: Decoder, rows: int, prompt: int, places: int) -> Cache:
    """A cache of empty rows, with room for prompts of `prompt` tokens; `places` are a block's."""
    keys, values = _own_room(model, rows, prompt)
    return init(model, PromptCache(keys, values, jnp.full((rows,), prompt)), places)


def init(model: Decoder, asked: PromptCache, places: int) -> Cache:
    """A cache in which nothing is written yet; its ring is one block of so many places."""
    rows = asked.start.shape[0]
    ring = (KVPage(*_own_room(model, rows, places)),)
    return Cache(asked, ring, jnp.int32(0), jnp.zeros((rows,), jnp.int32))


def empty_like(block: KVPage) -> KVPage:
    """An empty block of the same shape."""
    return jax.tree.map(jnp.zeros_like, block)


def pick(cache: Cache, take: Callable[[jax.Array, int], jax.Array]) -> Cache:
    """The cache of some rows: `take` gives those of an array, whose axis of rows it is told."""

    def some(x: jax.Array) -> jax.Array:
        return stacking.move_bits(lambda x: take(x, _axis(x)), x) if x.ndim else x

    return jax.tree.map(some, cache)


def admit(cache: Cache, new: PromptCache, rows_R: jax.Array) -> Cache:
    """The cache with the prompts of R new rows at `rows_R`; those from B on are left out."""

    def put(old: jax.Array, x: jax.Array) -> jax.Array:
        rows = (slice(None),) * _axis(old) + (rows_R,)
        return stacking.move_bits(lambda old, x: old.at[rows].set(x, mode="drop"), old, x)

    written = cache.written.at[rows_R].set(0, mode="drop")
    return dataclasses.replace(cache, prompt=jax.tree.map(put, cache.prompt, new), written=written)


def _axis(x: jax.Array) -> int:
    """Which axis of a cache's array is that of the rows: after the layers, where it has them."""
    return max(x.ndim - 4, 0)


def unstacked(prefix: Prefix) -> Prefix:
    """The prefix as a model whose blocks are apart reads it."""
    keys, values = (stacking.unstack(x) for x in (prefix.keys, prefix.values))
    return dataclasses.replace(prefix, keys=keys, values=values)


def make_prefix(model: Decoder, tokens_S: jax.Array, length: jax.Array) -> Prefix:
    """Keys and values of the few-shot prompt `tokens_S`, of which `length` tokens are real."""
    size = tokens_S.shape[0]
    place = jnp.arange(size)
    causal = place[:, None] >= place

    def attend(
        layer: Layer, q: jax.Array, k: jax.Array, v: jax.Array, kept: Carry
    ) -> tuple[jax.Array, Carry]:
        keys = jnp.where(place[:, None] < length, k[0], k[0, :, :1])  # see `Source`
        kept = _put(kept, layer, keys.swapaxes(1, 2), v[0].swapaxes(1, 2))
        own = KeySource(k, v, causal & within(layer.window, place, place))
        return attend_sources(layer, q, [own]), kept

    room = (_room(model, model.config.key_heads, model.config.head_dim, size),) * 2
    _, (keys, values) = model.hidden(tokens_S[None], place[None], attend, room)
    return Prefix(keys, values, length)


def prefill(
    model: Decoder, tokens_BxP: jax.Array, start_B: jax.Array, prefix: Prefix | None
) -> tuple[jax.Array, PromptCache]:
    """Runs left-padded prompts; the last token's logits [B, V], and what is kept of the prompts."""
    rows, size = tokens_BxP.shape
    place = jnp.arange(size)
    causal = place[:, None] >= place
    mask = (causal & (place >= start_B[:, None])[:, None, :])[:, None]
    positions = _positions(place - start_B[:, None], prefix)

    def attend(
        layer: Layer, q: jax.Array, k: jax.Array, v: jax.Array, kept: Carry
    ) -> tuple[jax.Array, Carry]:
        kept = _put(kept, layer, k.swapaxes(2, 3), v)
        own = KeySource(k, v, mask & within(layer.window, place, place))
        return attend_sources(layer, q, [own, *_shared(prefix, layer, positions)]), kept

    room = _own_room(model, rows, size)
    x, (keys, values) = model.hidden(tokens_BxP, positions, attend, room, given=_stacks(prefix))
    return model.logits(x[:, -1:])[:, 0], PromptCache(keys, values, start_B)


def prefill_packed(
    model: Decoder,
    tokens_GxT: jax.Array,
    segments_GxT: jax.Array,
    positions_GxT: jax.Array,
    end_GxN: jax.Array,
    start_GxN: jax.Array,
    places: int,
    prefix: Prefix | None,
) -> tuple[jax.Array, PromptCache]:
    """As `prefill`, for prompts that lie one after the other in G rows of T tokens: R = G N.

    Args:
        model: that reads.
        tokens_GxT: the prompts, and padding after them.
        segments_GxT: another number in every prompt.
        positions_GxT: from 0 in every prompt.
        end_GxN: the place in its row after each prompt's last token; 0 for an empty row.
        start_GxN: where the prompt is to begin among `places`, on the left of which is padding.
        places: P, that are kept of each.
        prefix: before all of them.
    """
    positions_GxT = _positions(positions_GxT, prefix)
    inside = attend_segments(segments_GxT, positions_GxT, prefix)

    def attend(
        layer: Layer, q: jax.Array, k: jax.Array, v: jax.Array, kept: Carry
    ) -> tuple[jax.Array, Carry]:
        return inside(layer, q, k, v, ())[0], _put(kept, layer, k, v)

    def cut(across: bool, x: jax.Array) -> jax.Array:
        """[.., G, K, T, D] to [.., R, K, P, D], or [.., R, K, D, P]."""
        if x.ndim > 4:
            return jax.vmap(functools.partial(cut, across))(x)
        return stacking.move_bits(functools.partial(cut_one, across), x)

    def cut_one(across: bool, x: jax.Array) -> jax.Array:
        x = jnp.pad(x, ((0, 0), (0, 0), (places, 0), (0, 0)))
        one = functools.partial(jax.lax.dynamic_slice_in_dim, slice_size=places, axis=1)
        found = jax.vmap(jax.vmap(one, (None, 0)))(x, end_GxN)
        found = found.reshape(-1, *found.shape[2:])
        return found.swapaxes(2, 3) if across else found

    groups, length = tokens_GxT.shape
    room = (_room(model, groups, model.config.key_heads, length, model.config.head_dim),) * 2
    x, (keys, values) = model.hidden(tokens_GxT, positions_GxT, attend, room, given=_stacks(prefix))
    last = jnp.take_along_axis(x, jnp.maximum(end_GxN - 1, 0)[..., None], axis=1)
    logits = model.logits(last)
    keys = jax.tree.map(functools.partial(cut, True), keys)
    values = jax.tree.map(functools.partial(cut, False), values)
    return logits.reshape(-1, logits.shape[-1]), PromptCache(keys, values, start_GxN.reshape(-1))


def step(
    model: Decoder,
    token_B: jax.Array,
    cache: Cache,
    prefix: Prefix | None,
    layout: Layout = ANY_LAYOUT,
) -> tuple[jax.Array, Cache]:
    """Feeds one token a row and returns the next token's logits [B, V] and the cache with it."""
    asked, written, (first, *older) = cache.prompt, cache.written[:, None], cache.ring
    prompt, places, size = asked.positions, first.positions, first.positions * len(cache.ring)
    at, place = cache.cursor % places, jnp.arange(prompt)
    # How many tokens of its row each place is behind the one that is fed: of the blocks, [C], and
    # of the prompt, [B, P].
    behinds = [(at - jnp.arange(places) + places * age) % size for age in range(len(cache.ring))]
    masks = [*(behind <= written for behind in behinds), place >= asked.start[:, None]]
    behinds += [prompt - place + written]
    positions = _positions(prompt - asked.start[:, None] + written, prefix)

    def attend(
        layer: Layer, q: jax.Array, k: jax.Array, v: jax.Array, kept: Carry
    ) -> tuple[jax.Array, Carry]:
        kept = _put(kept, layer, k.swapaxes(2, 3), v, at)
        own = (*(stacking.take(x, layer.index) for x in kept), *layer.given)
        sources = []
        for part, (mask, behind) in enumerate(zip(masks, behinds, strict=True)):
            keys, values = own[2 * part : 2 * part + 2]
            seen = mask & (behind < layer.window) if layer.window else mask
            sources.append(KeySource(keys, values, seen[:, None, None], kept=True))
        return attend_sources(layer, q, [*sources, *_shared(prefix, layer, positions)]), kept

    read = [x for part in (*older, asked) for x in (part.keys, part.values)]
    x, (keys, values) = model.hidden(
        token_B[:, None],
        positions,
        attend,
        (first.keys, first.values),
        given=(*read, *_stacks(prefix)),
        layout=layout,
    )
    ring = (KVPage(keys, values), *older)
    return model.logits(x)[:, 0], Cache(asked, ring, cache.cursor + 1, cache.written + 1)


def attend_segments(
    segments_BxT: jax.Array,
    positions_BxT: jax.Array,
    prefix: Prefix | None,
    begun_T: jax.Array | None = None,
) -> Attend:
    """As `attention.attend_segments`, every segment after the prefix; positions count it.

    `Decoder.hidden` must be given the prefix too. What is `begun` (`attention.begun`) makes long
    sequences faster, and a program of layers that are apart half as long again to compile.
    """

    def attend(
        layer: Layer, q: jax.Array, k: jax.Array, v: jax.Array, kept: Carry
    ) -> tuple[jax.Array, Carry]:
        def shared(queries: slice) -> list[KeySource]:
            return _shared(prefix, layer, positions_BxT[:, queries])

        return plain_segments(layer, q, k, v, segments_BxT, begun_T, shared), kept

    return attend


def _shared(prefix: Prefix | None, layer: Layer, positions_BxT: jax.Array) -> list[KeySource]:
    """The prefix as a source of keys, the last of what layers are given; places are positions."""
    if prefix is None:
        return []
    keys, values = layer.given[-2:]
    place = jnp.arange(keys.shape[2])
    mask = place < prefix.length
    if layer.window:
        mask = mask & within(layer.window, positions_BxT, place)[:, None]
    return [KeySource(keys, values, mask)]


def _stacks(prefix: Prefix | None) -> tuple[Stacked, ...]:
    return () if prefix is None else (prefix.keys, prefix.values)


def _room(model: Decoder, *shape: int) -> Stacked:
    """Empty keys or values of this shape in all layers, for what is about to be computed."""
    empty = jnp.zeros((model.config.layers, *shape), model.config.compute.dtype)
    return stacking.unstack(empty) if model.is_unstacked else empty


def _own_room(model: Decoder, rows: int, places: int) -> tuple[Stacked, Stacked]:
    """Empty keys [.., B, K, D, P] and values [.., B, K, P, D] of rows."""
    heads, size = model.config.key_heads, model.config.head_dim
    return _room(model, rows, heads, size, places), _room(model, rows, heads, places, size)


def _put(kept: Carry, layer: Layer, k: jax.Array, v: jax.Array, at: Index = 0) -> Carry:
    """With the part of one layer, from the place `at` on, where keys have the places last."""
    keys, values = kept
    before = (0,) * (v.ndim - 2)
    return (
        stacking.put(keys, layer.index, k, (*before, 0, at)),
        stacking.put(values, layer.index, v, (*before, at, 0)),
    )


def _positions(place_BxT: jax.Array, prefix: Prefix | None) -> jax.Array:
    """Positions, counted from the row's first real token, or from that of the prefix."""
    return jnp.maximum(place_BxT, 0) + (0 if prefix is None else prefix.length)
