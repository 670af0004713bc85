"""Keys and values kept from one decoding step to the next.

Two kinds. A `Prefix` holds the few-shot prompt that all rows share: computed once, no batch axis.
A `Cache` holds each row's own tokens; rows are padded on the left, so every row writes its next
token at the same place and the update is one in-place slice. A cache is as long as what is filled
needs and is grown in a few static sizes (`grow`): attention never reads the empty rest.

Shapes: L layers, B rows, H heads, D head_dim, S prefix tokens, W the cache's present length.
"""

import dataclasses

import jax
import jax.numpy as jnp

from star_jax.model.decoder import Decoder, attention


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Prefix:
    """The shared few-shot prompt.

    Attributes:
        keys: a [H, S, D] array a layer.
        values: a [H, S, D] array a layer.
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
        keys: a [B, H, W, D] array a layer.
        values: a [B, H, W, D] array a layer.
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
    causal = jnp.tril(jnp.ones((size, size), bool))

    def attend(layer: int, q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        del layer
        keys.append(k[0])
        values.append(v[0])
        return attention(q, [(k, v, causal)])

    model.hidden(tokens_S[None], jnp.arange(size)[None], attend)
    return Prefix(tuple(keys), tuple(values), length)


def prefill(
    model: Decoder, tokens_BxP: jax.Array, start_B: jax.Array, prefix: Prefix | None
) -> tuple[jax.Array, Cache]:
    """Runs left-padded prompts and returns the last token's logits [B, V] and the filled cache."""
    rows, size = tokens_BxP.shape
    place = jnp.arange(size)
    causal = place[:, None] >= place[None, :]
    mask = (causal & (place >= start_B[:, None])[:, None, :])[:, None]
    keys: list[jax.Array] = []
    values: list[jax.Array] = []

    def attend(layer: int, q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        keys.append(k)
        values.append(v)
        return attention(q, [(k, v, mask), *_shared(prefix, layer)])

    positions = _positions(place[None].repeat(rows, 0), start_B, prefix)
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

    def attend(layer: int, q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        at = (0, 0, cache.filled, 0)
        keys[layer] = jax.lax.dynamic_update_slice(keys[layer], k, at)
        values[layer] = jax.lax.dynamic_update_slice(values[layer], v, at)
        own = (keys[layer], values[layer], seen[:, None, None])
        return attention(q, [own, *_shared(prefix, layer)])

    rows = token_B.shape[0]
    positions = _positions(jnp.broadcast_to(cache.filled, (rows, 1)), cache.start, prefix)
    x = model.hidden(token_B[:, None], positions, attend)
    cache = Cache(tuple(keys), tuple(values), cache.filled + 1, cache.start)
    return model.logits(x)[:, 0], cache


def _shared(prefix: Prefix | None, layer: int) -> list[tuple[jax.Array, jax.Array, jax.Array]]:
    if prefix is None:
        return []
    keys = prefix.keys[layer]
    return [(keys, prefix.values[layer], jnp.arange(keys.shape[1]) < prefix.length)]


def _positions(place_BxT: jax.Array, start_B: jax.Array, prefix: Prefix | None) -> jax.Array:
    """A row's tokens are counted from its own first one, after the prefix; padding counts as 0."""
    offset = 0 if prefix is None else prefix.length
    return jnp.maximum(place_BxT - start_B[:, None], 0) + offset
