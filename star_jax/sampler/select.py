"""Logits to the next token. B rows, V vocabulary."""

import dataclasses

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Selection:
    """How a token is drawn.

    Attributes:
        temperature: 0 is greedy; otherwise logits are divided by it.
        top_k: only the k most likely tokens stay; 0 keeps all.
        top_p: the most likely tokens that together reach this probability stay; 1.0 keeps all.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0


def select(logits_BxV: jax.Array, keys_B: jax.Array, selection: Selection) -> jax.Array:
    """The next token of each row, [B] int32; each row has its own random key."""
    if selection.temperature == 0.0:
        return jnp.argmax(logits_BxV, axis=-1).astype(jnp.int32)
    logits = restrict(logits_BxV / selection.temperature, selection.top_k, selection.top_p)
    return jax.vmap(jax.random.categorical)(keys_B, logits).astype(jnp.int32)


def restrict(logits_BxV: jax.Array, top_k: int, top_p: float) -> jax.Array:
    """Sets to minus infinity what top-k, then top-p (Holtzman et al., 2020) leave out.

    The most likely token always stays. Of equal logits at the edge of top-k all stay.
    """
    if top_k:
        kth = jax.lax.top_k(logits_BxV, min(top_k, logits_BxV.shape[1]))[0][:, -1:]
        logits_BxV = jnp.where(logits_BxV < kth, -jnp.inf, logits_BxV)
    if top_p < 1.0:
        ordered = jnp.sort(logits_BxV, axis=-1, descending=True)
        probabilities = jax.nn.softmax(ordered, axis=-1)
        before = jnp.cumsum(probabilities, axis=-1) - probabilities
        last = jnp.sum(before < top_p, axis=-1, keepdims=True) - 1
        edge = jnp.take_along_axis(ordered, jnp.maximum(last, 0), axis=-1)
        logits_BxV = jnp.where(logits_BxV < edge, -jnp.inf, logits_BxV)
    return logits_BxV
