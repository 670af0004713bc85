"""The head: from the residual stream to logits.

Shapes: B rows, T tokens, E width, V vocab.
"""

import functools
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp

from star_jax.models.attention_reference import capped
from star_jax.models.config import ModelConfig
from star_jax.models.matmul import matmul


class Head(NamedTuple):
    """What turns the residual stream to logits.

    Attributes:
        matrix: [V, E], the embedding, where they are tied; or else [E, V].
        bias: [V], or None where there is none.
    """

    matrix: jax.Array
    bias: jax.Array | None


def logits(config: ModelConfig, head: Head, x_BxTxE: jax.Array) -> jax.Array:
    """The residual stream to float32 logits, [B, T, V]; those of padding rows are -1e30."""
    if config.compute.on_cpu:
        found = matmul(x_BxTxE, head.matrix, wide=True, rows=config.tied)
    else:
        found = cast(jax.Array, _whole(config.tied, x_BxTxE, head.matrix))
    if head.bias is not None:
        found = found + head.bias.astype(jnp.float32)
    if config.logit_cap:
        found = capped(found, config.logit_cap)
    if config.vocab_padding:
        found = jnp.where(
            jnp.arange(config.vocab) < config.vocab - config.vocab_padding, found, -1e30
        )
    return found


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _whole(tied: bool, x: jax.Array, matrix: jax.Array) -> jax.Array:
    """Their product in float32, not rounded to the type of `x`: near logits would become equal."""
    axes = ((-1,), (int(tied),))
    return jnp.tensordot(x, matrix.astype(x.dtype), axes, preferred_element_type=jnp.float32)


def _forward(
    tied: bool, x: jax.Array, matrix: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _whole(tied, x, matrix), (x, matrix)


def _backward(
    tied: bool, kept: tuple[jax.Array, jax.Array], wanted: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """As of any other product, all of it in the type of `x`."""
    _, back = jax.vjp(functools.partial(matmul, wide=False, rows=tied), *kept)
    return back(wanted.astype(kept[0].dtype))


_whole.defvjp(_forward, _backward)
