"""Keys and values kept from one decoding step to the next.

Two kinds. A `Prefix` holds the few-shot prompt that all rows share: computed once, no batch axis.
A `Cache` holds each row's own tokens; rows are padded on the left, so every row writes its next
token at the same place and the update is one in-place slice. A cache is as long as what is filled
needs and is grown in a few static sizes (`grow`): attention never reads the empty rest.

Shapes: L layers, B rows, K heads of keys and values, D head_dim, S prefix tokens, W the cache's
present length.
"""

import dataclasses

import jax
import jax.numpy as jnp

from star_jax.model.attention import Attend, Layer, attention, segment_mask, within
from star_jax.model.decoder import Decoder


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Prefix:
    """The shared few-shot prompt.

    Attributes:
        keys: a [K, S, D] array a layer.
        values: a [K, S, D] array a layer.
        length: [] int32, tokens that are filled; the rest is padding (0: there is no prompt).
    """

    keys: tuple[jax.Array, ...]
    values: tuple[jax.Array, ...]
    length: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Cache:
    """The rows' own keys and values.

    Attributes:
        keys: a [B, K, W, D] array a layer.
        values: a [B, K, W, D] array a layer.
        filled: [] int32, places that hold a token or left padding, the same for all rows.
        start: [B] int32, the first place that holds a token of the row.
    """

    keys: tuple[jax.Array, ...]
    values: tuple[jax.Array, ...]
    filled: jax.Array
    start: jax.Array


def grow(cache: Cache, length: int) -> Cache:
    """The same cache with room for `length` places a row."""

    def pad(x: jax.Array) -> jax.Array:
        return jnp.pad(x, ((0, 0), (0, 0), (0, length - x.shape[2]), (0, 0)))

    keys, values = (tuple(pad(x) for x in xs) for xs in (cache.keys, cache.values))
    return dataclasses.replace(cache, keys=keys, values=values)


def make_prefix(model: Decoder, tokens_S: jax.Array, length: jax.Array) -> Prefix:
    """Keys and values of the few-shot prompt `tokens_S`, of which `length` tokens are real."""
    size = tokens_S.shape[0]
    keys: list[jax.Array] = []
    values: list[jax.Array] = []
    place = jnp.arange(size)
    causal = place[:, None] >= place

    def attend(layer: Layer, q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        keys.append(k[0])
        values.append(v[0])
        return attention(layer, q, [(k, v, causal & within(layer.window, place, place))])

    model.hidden(tokens_S[None], place[None], attend)
    return Prefix(tuple(keys), tuple(values), length)


def prefill(
    model: Decoder, tokens_BxP: jax.Array, start_B: jax.Array, prefix: Prefix | None
) -> tuple[jax.Array, Cache]:
    """Runs left-padded prompts and returns the last token's logits [B, V] and the filled cache."""
    rows, size = tokens_BxP.shape
    place = jnp.arange(size)
    causal = place[:, None] >= place
    mask = (causal & (place >= start_B[:, None])[:, None, :])[:, None]
    keys: list[jax.Array] = []
    values: list[jax.Array] = []

    positions = _positions(place[None].repeat(rows, 0), start_B, prefix)

    def attend(layer: Layer, q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        keys.append(k)
        values.append(v)
        own = (k, v, mask & within(layer.window, place, place))
        return attention(layer, q, [own, *_shared(prefix, layer, positions)])

    x = model.hidden(tokens_BxP, positions, attend)
    cache = Cache(tuple(keys), tuple(values), jnp.int32(size), start_B)
    return model.logits(x[:, -1:])[:, 0], cache


def step(
    model: Decoder, token_B: jax.Array, cache: Cache, prefix: Prefix | None
) -> tuple[jax.Array, Cache]:
    """Feeds one token a row and returns the next token's logits [B, V] and the cache with it."""
    place = jnp.arange(cache.keys[0].shape[2])
    seen = (place <= cache.filled) & (place >= cache.start[:, None])
    keys, values = list(cache.keys), list(cache.values)
    rows = token_B.shape[0]
    positions = _positions(jnp.broadcast_to(cache.filled, (rows, 1)), cache.start, prefix)

    def attend(layer: Layer, q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        at, i = (0, 0, cache.filled, 0), layer.index
        keys[i] = jax.lax.dynamic_update_slice(keys[i], k, at)
        values[i] = jax.lax.dynamic_update_slice(values[i], v, at)
        mask = seen[:, None, None] & within(layer.window, cache.filled[None], place)
        return attention(layer, q, [(keys[i], values[i], mask), *_shared(prefix, layer, positions)])

    x = model.hidden(token_B[:, None], positions, attend)
    cache = Cache(tuple(keys), tuple(values), cache.filled + 1, cache.start)
    return model.logits(x)[:, 0], cache


def attend_segments(segments_BxT: jax.Array, positions_BxT: jax.Array, prefix: Prefix) -> Attend:
    """As `attention.attend_segments`, every segment after the prefix; positions count it."""
    mask, place = segment_mask(segments_BxT), jnp.arange(segments_BxT.shape[1])

    def attend(layer: Layer, q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        own = (k, v, mask & within(layer.window, place, place))
        return attention(layer, q, [own, *_shared(prefix, layer, positions_BxT)])

    return attend


def _shared(
    prefix: Prefix | None, layer: Layer, positions_BxT: jax.Array
) -> list[tuple[jax.Array, jax.Array, jax.Array]]:
    """The prefix as a source of keys for `attention`; its places are its positions."""
    if prefix is None:
        return []
    keys = prefix.keys[layer.index]
    place = jnp.arange(keys.shape[1])
    mask = place < prefix.length
    if layer.window:
        mask = mask & within(layer.window, positions_BxT, place)[:, None]
    return [(keys, prefix.values[layer.index], mask)]


def _positions(place_BxT: jax.Array, start_B: jax.Array, prefix: Prefix | None) -> jax.Array:
    """A row's tokens are counted from its own first one, after the prefix; padding counts as 0."""
    offset = 0 if prefix is None else prefix.length
    return jnp.maximum(place_BxT - start_B[:, None], 0) + offset
