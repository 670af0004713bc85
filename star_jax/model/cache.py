"""Keys and values kept from one decoding step to the next.

Two kinds, both stacks of layers (`model/layers.py`), taken apart where the model's blocks are. A
`Prefix` holds the few-shot prompt that all rows share: computed once, no batch axis. A `Cache`
holds each row's own tokens; rows are padded on the left, so every row writes its next token at the
same place and the update is one in-place slice. A cache is as long as what is filled needs and is
grown in a few static sizes (`grow`): attention never reads the empty rest.

Shapes: L layers, B rows, K heads of keys and values, D head_dim, S prefix tokens, W the cache's
present length.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from star_jax.model import layers
from star_jax.model.attention import Attend, Kept, Layer, attention, segment_mask, within
from star_jax.model.decoder import Decoder
from star_jax.model.layers import Index, Stacked


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Prefix:
    """The shared few-shot prompt.

    Attributes:
        keys: [L, K, S, D], or apart.
        values: [L, K, S, D], or apart.
        length: [] int32, tokens that are filled; the rest is padding (0: there is no prompt).
    """

    keys: Stacked
    values: Stacked
    length: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Cache:
    """The rows' own keys and values.

    Attributes:
        keys: [L, B, K, W, D], or apart.
        values: [L, B, K, W, D], or apart.
        filled: [] int32, places that hold a token or left padding, the same for all rows.
        start: [B] int32, the first place that holds a token of the row.
    """

    keys: Stacked
    values: Stacked
    filled: jax.Array
    start: jax.Array


def grow(cache: Cache, length: int) -> Cache:
    """The same cache with room for `length` places a row."""

    def pad(x: jax.Array) -> jax.Array:
        return jnp.pad(x, (*[(0, 0)] * (x.ndim - 2), (0, length - x.shape[-2]), (0, 0)))

    keys, values = jax.tree.map(pad, (cache.keys, cache.values))
    return dataclasses.replace(cache, keys=keys, values=values)


def apart(prefix: Prefix) -> Prefix:
    """The prefix as a model whose blocks are apart reads it."""
    keys, values = (layers.apart(x) for x in (prefix.keys, prefix.values))
    return dataclasses.replace(prefix, keys=keys, values=values)


def make_prefix(model: Decoder, tokens_S: jax.Array, length: jax.Array) -> Prefix:
    """Keys and values of the few-shot prompt `tokens_S`, of which `length` tokens are real."""
    size = tokens_S.shape[0]
    place = jnp.arange(size)
    causal = place[:, None] >= place

    def attend(
        layer: Layer, q: jax.Array, k: jax.Array, v: jax.Array, kept: Kept
    ) -> tuple[jax.Array, Kept]:
        kept = _put(kept, layer, k[0], v[0])
        return attention(layer, q, [(k, v, causal & within(layer.window, place, place))]), kept

    _, (keys, values) = model.hidden(tokens_S[None], place[None], attend, _room(model, size))
    return Prefix(keys, values, length)


def prefill(
    model: Decoder, tokens_BxP: jax.Array, start_B: jax.Array, prefix: Prefix | None
) -> tuple[jax.Array, Cache]:
    """Runs left-padded prompts and returns the last token's logits [B, V] and the filled cache."""
    rows, size = tokens_BxP.shape
    place = jnp.arange(size)
    causal = place[:, None] >= place
    mask = (causal & (place >= start_B[:, None])[:, None, :])[:, None]
    positions = _positions(place[None].repeat(rows, 0), start_B, prefix)

    def attend(
        layer: Layer, q: jax.Array, k: jax.Array, v: jax.Array, kept: Kept
    ) -> tuple[jax.Array, Kept]:
        kept = _put(kept, layer, k, v)
        own = (k, v, mask & within(layer.window, place, place))
        return attention(layer, q, [own, *_shared(prefix, layer, positions)]), kept

    room = _room(model, size, rows)
    x, kept = model.hidden(tokens_BxP, positions, attend, room, given=_stacks(prefix))
    cache = Cache(*kept, jnp.int32(size), start_B)
    return model.logits(x[:, -1:])[:, 0], cache


def step(
    model: Decoder, token_B: jax.Array, cache: Cache, prefix: Prefix | None
) -> tuple[jax.Array, Cache]:
    """Feeds one token a row and returns the next token's logits [B, V] and the cache with it."""
    place = jnp.arange(cache.keys[0].shape[-2])
    seen = (place <= cache.filled) & (place >= cache.start[:, None])
    rows = token_B.shape[0]
    positions = _positions(jnp.broadcast_to(cache.filled, (rows, 1)), cache.start, prefix)

    def attend(
        layer: Layer, q: jax.Array, k: jax.Array, v: jax.Array, kept: Kept
    ) -> tuple[jax.Array, Kept]:
        kept = _put(kept, layer, k, v, (0, 0, cache.filled, 0))
        mask = seen[:, None, None] & within(layer.window, cache.filled[None], place)
        keys, values = (layers.take(x, layer.index) for x in kept)
        return attention(layer, q, [(keys, values, mask), *_shared(prefix, layer, positions)]), kept

    kept = (cache.keys, cache.values)
    x, kept = model.hidden(token_B[:, None], positions, attend, kept, given=_stacks(prefix))
    cache = Cache(*kept, cache.filled + 1, cache.start)
    return model.logits(x)[:, 0], cache


def attend_segments(segments_BxT: jax.Array, positions_BxT: jax.Array, prefix: Prefix) -> Attend:
    """As `attention.attend_segments`, every segment after the prefix; positions count it.

    `Decoder.hidden` must be given the prefix too.
    """
    mask, place = segment_mask(segments_BxT), jnp.arange(segments_BxT.shape[1])

    def attend(
        layer: Layer, q: jax.Array, k: jax.Array, v: jax.Array, kept: Kept
    ) -> tuple[jax.Array, Kept]:
        own = (k, v, mask & within(layer.window, place, place))
        return attention(layer, q, [own, *_shared(prefix, layer, positions_BxT)]), kept

    return attend


def _shared(
    prefix: Prefix | None, layer: Layer, positions_BxT: jax.Array
) -> list[tuple[jax.Array, jax.Array, jax.Array]]:
    """The prefix as a source of keys for `attention`; its places are its positions."""
    if prefix is None:
        return []
    keys, values = layer.given
    place = jnp.arange(keys.shape[1])
    mask = place < prefix.length
    if layer.window:
        mask = mask & within(layer.window, positions_BxT, place)[:, None]
    return [(keys, values, mask)]


def _stacks(prefix: Prefix | None) -> tuple[Stacked, ...]:
    return () if prefix is None else (prefix.keys, prefix.values)


def _room(model: Decoder, length: int, *rows: int) -> Kept:
    """Empty keys and values of all layers, for what they are about to compute."""
    config = model.config
    shape = (*rows, config.key_heads, length, config.head_dim)
    empty = jnp.zeros((config.layers, *shape), config.dtype)
    return (layers.apart(empty),) * 2 if model.is_apart else (empty,) * 2


def _put(kept: Kept, layer: Layer, k: jax.Array, v: jax.Array, at: Sequence[Index] = ()) -> Kept:
    keys, values = kept
    return layers.put(keys, layer.index, k, at), layers.put(values, layer.index, v, at)


def _positions(place_BxT: jax.Array, start_B: jax.Array, prefix: Prefix | None) -> jax.Array:
    """A row's tokens are counted from its own first one, after the prefix; padding counts as 0."""
    offset = 0 if prefix is None else prefix.length
    return jnp.maximum(place_BxT - start_B[:, None], 0) + offset
