"""Rotary position embedding, with the ways it is stretched for longer contexts.

Shapes: B rows, H heads, T tokens, D head_dim.
"""

import math

import jax
import jax.numpy as jnp

from star_jax.model.config import ModelConfig, RopeScaling


def rotate(
    x_BxHxTxD: jax.Array, positions_BxT: jax.Array, config: ModelConfig, local: bool = False
) -> jax.Array:
    """Rotary position embedding (Su et al., 2021, eq. 34) of the first `rotary` dimensions.

    Positions are int32 [B, T]; shape and type of the result are those of x. `local` is for a layer
    with a window, which may have a base of its own.
    """
    if not config.rotary:
        return x_BxHxTxD
    own = local and config.rotary_local_base
    radians = frequencies(
        config.rotary,
        config.rotary_local_base if own else config.rotary_base,
        None if own else config.rope_scaling,
    )
    angles = positions_BxT[:, None, :, None].astype(jnp.float32) * radians
    sin, cos = jnp.sin(angles), jnp.cos(angles)
    turned, kept = x_BxHxTxD[..., : config.rotary], x_BxHxTxD[..., config.rotary :]
    turned = turned.astype(jnp.float32)
    adjacent = config.rotary_pairs == "adjacent"
    a, b = (turned[..., i::2] for i in (0, 1)) if adjacent else jnp.split(turned, 2, axis=-1)
    pairs = (a * cos - b * sin, b * cos + a * sin)
    if adjacent:
        turned = jnp.stack(pairs, axis=-1).reshape(turned.shape)
    else:
        turned = jnp.concatenate(pairs, axis=-1)
    return jnp.concatenate((turned.astype(x_BxHxTxD.dtype), kept), axis=-1)


def frequencies(rotary: int, base: float, scaling: RopeScaling | None) -> jax.Array:
    """Radians a position for each of the rotary / 2 pairs."""
    half = rotary // 2
    radians = base ** (-jnp.arange(half, dtype=jnp.float32) / half)
    if scaling is None:
        return radians
    if scaling.kind == "linear":
        return radians / scaling.factor
    # Llama 3.1: wavelengths that fit `high` times into the old context stay, those that do not fit
    # `low` times are stretched, and between the two it is blended.
    turns = scaling.original * radians / (2 * math.pi)
    kept = jnp.clip((turns - scaling.low) / (scaling.high - scaling.low), 0.0, 1.0)
    return radians * (kept + (1 - kept) / scaling.factor)
