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
    """The weights of the head.

    Attributes:
        matrix: weights; [V, E], the embedding, where they are tied; otherwise [E, V].
        bias: biases [V]; None where there are none.
    """

    matrix: jax.Array
    bias: jax.Array | None


def logits(config: ModelConfig, head: Head, x_BxTxE: jax.Array) -> jax.Array:
    """Returns float32 logits [B, T, V] of the residual stream; those of padding rows are -1e30."""
    if config.compute.on_cpu:
        result = matmul(x_BxTxE, head.matrix, wide=True, rows=config.tied)
    else:
        result = cast(jax.Array, _unrounded(config.tied, x_BxTxE, head.matrix))
    if head.bias is not None:
        result = result + head.bias.astype(jnp.float32)
    if config.logit_cap:
        result = capped(result, config.logit_cap)
    if config.vocab_padding:
        result = jnp.where(jnp.arange(config.vocab) < config.tokens, result, -1e30)
    return result


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _unrounded(tied: bool, x: jax.Array, matrix: jax.Array) -> jax.Array:
    """Returns the product in float32. Rounded to the type of `x`, close logits would be equal."""
    axes = ((-1,), (int(tied),))
    return jnp.tensordot(x, matrix.astype(x.dtype), axes, preferred_element_type=jnp.float32)


def _forward(
    tied: bool, x: jax.Array, matrix: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _unrounded(tied, x, matrix), (x, matrix)


def _backward(
    tied: bool, residuals: tuple[jax.Array, jax.Array], grad: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns the gradients of an ordinary product, computed in the type of `x`."""
    _, vjp = jax.vjp(functools.partial(matmul, wide=False, rows=tied), *residuals)
    return vjp(grad.astype(residuals[0].dtype))


_unrounded.defvjp(_forward, _backward)
