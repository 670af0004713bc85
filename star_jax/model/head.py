"""The head: from the residual stream to logits.

Shapes: B rows, T tokens, E width, V vocab.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from star_jax.model.config import ModelConfig
from star_jax.model.plain_attention import capped
from star_jax.model.product import product


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
    found = product(x_BxTxE, head.matrix, wide=config.cpu, rows=config.tied).astype(jnp.float32)
    if head.bias is not None:
        found = found + head.bias.astype(jnp.float32)
    if config.logit_cap:
        found = capped(found, config.logit_cap)
    if config.padding:
        found = jnp.where(jnp.arange(config.vocab) < config.vocab - config.padding, found, -1e30)
    return found
