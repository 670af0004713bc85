"""Drawing a token on a CPU: the tokens that `sampling.py` draws on other devices, faster.

XLA for CPUs sorts a whole row for top-k. Here the k-th highest logit is found by bisection of its
bits, and only the blocks of the vocabulary that hold the k highest are looked at.

Shapes: B rows, V vocabulary, N values or tokens that are looked at.
"""

import jax
import jax.numpy as jnp

from star_jax.inference import noise
from star_jax.inference.ranks import highest, kth_highest

_BLOCK = 64  # tokens of a block
_MORE = 2  # there are at least as many times the k blocks, or all tokens are looked at


def draw(
    logits_BxV: jax.Array,
    keys_B: jax.Array,
    *,
    top_k: int,
    temperature: float,
) -> jax.Array:
    """Returns a token of each row, [B] int32: the highest logit with noise, of the top k.

    A row whose logits are not finite gets a token with such a logit.

    Args:
        logits_BxV: logits, not divided by the temperature; minus infinity where they are left out.
        keys_B: random keys.
        top_k: number of most likely tokens to keep; 0 keeps all.
        temperature: factor of the noise.
    """
    vocab = logits_BxV.shape[1]
    logits = jnp.where(jnp.isnan(logits_BxV), jnp.inf, logits_BxV).astype(jnp.float32)

    def among_all(logits: jax.Array) -> jax.Array:
        if top_k:
            logits = jnp.where(logits < kth_highest(logits, top_k), -jnp.inf, logits)
        return highest(logits + temperature * noise.gumbel(keys_B, jnp.arange(vocab)[None], vocab))

    blocks = -(-vocab // _BLOCK)
    if not top_k or blocks < _MORE * top_k:
        return among_all(logits)
    padded = jnp.pad(
        logits, ((0, 0), (0, blocks * _BLOCK - vocab)), constant_values=-jnp.inf
    ).reshape(-1, blocks, _BLOCK)
    best_of_block = padded.max(-1)
    chosen = best_of_block >= kth_highest(best_of_block, top_k)

    def among_few(logits: jax.Array) -> jax.Array:
        # The k highest logits are in the k blocks whose highest logits are.
        rank = jnp.cumsum(chosen, axis=1)
        order = jnp.arange(top_k)[:, None]
        own = jnp.sum(rank[:, None] <= order, axis=-1)  # [B, k], in the order of the vocabulary
        few = jnp.take_along_axis(padded, own[..., None], axis=1).reshape(-1, top_k * _BLOCK)
        index = (own[..., None] * _BLOCK + jnp.arange(_BLOCK)).reshape(few.shape)
        few = jnp.where(few < kth_highest(few, top_k), -jnp.inf, few)
        best = highest(few + temperature * noise.gumbel(keys_B, index, vocab))
        return jnp.take_along_axis(index, best[:, None], axis=1)[:, 0].astype(jnp.int32)

    # Where blocks are equal, more than k may hold logits that are kept.
    exact = jnp.all(jnp.sum(chosen, axis=1) == top_k)
    return jax.lax.cond(exact, among_few, among_all, logits)
