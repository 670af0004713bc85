"""Prompts that are read once, for any number of rows.

Packed prompts stay as they were read: one after the other, G groups of them beside each other. A
row takes a copy of its prompt's keys and values when it gets a slot (`pick`).

Shapes: G groups of T tokens, N prompts in each; F new rows of a group, R = G F; K heads of keys and
values, D head_dim, P positions of a row's prompt, V vocabulary.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from star_jax.models import kv_cache, stacking
from star_jax.models.kv_cache import KVPage, Prefix, PromptCache
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


def pick(
    pool: PromptPool, seat_GxF: jax.Array, prompt_length: int
) -> tuple[jax.Array, PromptCache]:
    """Returns the logits [R, V] after some prompts and their KV cache, a copy for each new row.

    Args:
        pool: prompts that have been read.
        seat_GxF: index of each row's prompt in its group, from 0 to N - 1.
        prompt_length: number of positions P of a row's prompt.
    """
    end, start = (jnp.take_along_axis(x, seat_GxF, axis=1) for x in (pool.end, pool.start))
    logits = jnp.take_along_axis(pool.logits, seat_GxF[..., None], axis=1)

    def cut(axis: int, x: jax.Array) -> jax.Array:
        """Cuts each row's P positions, [.., G, K, .., ..] to [.., R, K, .., ..]."""
        if x.ndim > 4:
            return jax.vmap(functools.partial(cut, axis))(x)
        return stacking.move_bits(functools.partial(cut_layer, axis), x)

    def cut_layer(axis: int, x: jax.Array) -> jax.Array:
        one = functools.partial(jax.lax.dynamic_slice_in_dim, slice_size=prompt_length, axis=axis)
        rows = jax.vmap(jax.vmap(one, (None, 0)))(x, end)
        return rows.reshape(-1, *rows.shape[2:])

    def each(axis: int, x: Stacked) -> Stacked:
        return jax.tree.map(functools.partial(cut, axis), x)

    prompt = PromptCache(each(2, pool.keys), each(1, pool.values), start.reshape(-1))
    return logits.reshape(-1, logits.shape[-1]), prompt
