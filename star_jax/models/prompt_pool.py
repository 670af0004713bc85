"""Prompts that are read once, for any number of rows.

Packed prompts stay as they were read: one after the other, G groups of them beside each other. A
row takes a copy of its prompt's keys and values when it gets a slot.

Shapes: G groups of T tokens, N prompts in each; F new rows of a group, R = G F; B rows of the
cache, K heads of keys and values, D head_dim, P positions of a row's prompt, V vocabulary.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from star_jax.models import kv_cache, stacking
from star_jax.models.kv_cache import Cache, KVPage, Prefix, PromptCache
from star_jax.models.stacking import Stacked
from star_jax.models.transformer import Decoder


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PromptPool(KVPage):
    """Packed prompts that have been read: a page with a row for each group.

    Attributes:
        keys: keys; [L, G, K, D, P + T], or L arrays [G, K, D, P + T]; the first P are zero.
        values: values; [L, G, K, P + T, D], or L arrays [G, K, P + T, D].
        end: index [G, N] int32 after a prompt's last token in its group; 0: there is no such
            prompt.
        start: first position [G, N] int32 of a prompt when it is padded on the left to P.
        logits: logits [G, N, V] after each prompt.
    """

    end: jax.Array
    start: jax.Array
    logits: jax.Array


def read(
    model: Decoder,
    tokens_GxT: jax.Array,
    segments_GxT: jax.Array,
    positions_GxT: jax.Array,
    end_GxN: jax.Array,
    start_GxN: jax.Array,
    prompt_length: int,
    prefix: Prefix | None,
) -> PromptPool:
    """Reads packed prompts.

    Args:
        model: decoder.
        tokens_GxT: prompts one after the other, and padding after them.
        segments_GxT: segment ids, different in every prompt of a group.
        positions_GxT: positions, from 0 in every prompt.
        end_GxN: `PromptPool.end`.
        start_GxN: `PromptPool.start`.
        prompt_length: number of positions P of a row's prompt.
        prefix: keys and values of the few-shot prompt before all prompts; None without one.
    """
    logits, page = kv_cache.prefill_packed(
        model, tokens_GxT, segments_GxT, positions_GxT, end_GxN, prompt_length, prefix
    )
    return PromptPool(page.keys, page.values, end=end_GxN, start=start_GxN, logits=logits)


def logits_after(pool: PromptPool, seat_GxF: jax.Array) -> jax.Array:
    """Returns the logits [R, V] after some prompts: each is `seat_GxF` in its group."""
    logits = jnp.take_along_axis(pool.logits, seat_GxF[..., None], axis=1)
    return logits.reshape(-1, logits.shape[-1])


def copy(cache: Cache, pool: PromptPool, seat_GxF: jax.Array, rows_R: jax.Array) -> Cache:
    """Returns the cache with copies of prompts in some of its rows.

    Args:
        cache: cache of B rows.
        pool: prompts that have been read.
        seat_GxF: index of each prompt in its group, from 0 to N - 1.
        rows_R: row that each prompt is copied to. Rows from B on are left out; in each group they
            come last.
    """
    end, start = (jnp.take_along_axis(x, seat_GxF, axis=1) for x in (pool.end, pool.start))
    put = _put_one_by_one if len(end) == 1 else _put_at_once
    keys, values = (
        put(old, x, axis, cache.prompt.positions, end, rows_R)
        for old, x, axis in (
            (cache.prompt.keys, pool.keys, -1),
            (cache.prompt.values, pool.values, -2),
        )
    )
    new = cache.prompt.start.at[rows_R].set(start.reshape(-1), mode="drop")
    written = cache.written.at[rows_R].set(0, mode="drop")
    return dataclasses.replace(cache, prompt=PromptCache(keys, values, new), written=written)


def _put_one_by_one(
    old: Stacked, pool: Stacked, axis: int, length: int, end_1xF: jax.Array, rows_F: jax.Array
) -> Stacked:
    """Copies prompts of one group; the time it takes depends on their number."""

    def move(seat: jax.Array, old: jax.Array, x: jax.Array) -> jax.Array:
        prompt = jax.lax.dynamic_slice_in_dim(x, end_1xF[0, seat], length, axis % x.ndim)
        return jax.lax.dynamic_update_slice_in_dim(old, prompt, rows_F[seat], old.ndim - 4)

    def put_one(seat: jax.Array, old: Stacked) -> Stacked:
        each = functools.partial(stacking.move_bits, functools.partial(move, seat))
        return jax.tree.map(each, old, pool)

    rows = jax.tree.leaves(old)[0].shape[-4]
    return jax.lax.fori_loop(0, jnp.sum(rows_F < rows), put_one, old)


def _put_at_once(
    old: Stacked, pool: Stacked, axis: int, length: int, end_GxF: jax.Array, rows_R: jax.Array
) -> Stacked:
    """Copies prompts of several groups, which other devices may hold."""

    def put_layer(old: jax.Array, x: jax.Array) -> jax.Array:
        if x.ndim > 4:
            return jax.vmap(put_layer)(old, x)
        one = functools.partial(jax.lax.dynamic_slice_in_dim, slice_size=length, axis=axis % 3)
        prompts = jax.vmap(jax.vmap(one, (None, 0)))(x, end_GxF)
        return old.at[rows_R].set(prompts.reshape(-1, *prompts.shape[2:]), mode="drop")

    return jax.tree.map(functools.partial(stacking.move_bits, put_layer), old, pool)
