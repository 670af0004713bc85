"""Rotary position embedding, with the ways it is stretched for longer contexts.

Shapes: B rows, H heads, T tokens, D head_dim.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from star_jax.models.config import ModelConfig, RopeScaling


class SinCos(NamedTuple):
    """Sine and cosine of each position's angles, float32 [B, 1, T, rotary / 2]."""

    sin: jax.Array
    cos: jax.Array


def sin_cos(positions_BxT: jax.Array, config: ModelConfig, local: bool = False) -> SinCos | None:
    """By how much heads are turned at these positions, int32; None where they are not.

    `local` is for layers with a window, which may have a base of their own.
    """
    if not config.rotary:
        return None
    own = local and config.rotary_local_base
    radians = frequencies(
        config.rotary,
        config.rotary_local_base if own else config.rotary_base,
        None if own else config.rope_scaling,
    )
    angles = positions_BxT[:, None, :, None].astype(jnp.float32) * radians
    found = SinCos(jnp.sin(angles), jnp.cos(angles))
    if not config.compute.on_cpu:
        return found
    # On a CPU XLA computes sines again for each head of each layer, unless a product gives them.
    one = jnp.eye(config.rotary // 2)
    return SinCos(*(jnp.matmul(x, one, precision=jax.lax.Precision.HIGHEST) for x in found))


def rotate(x_BxHxTxD: jax.Array, turned: SinCos | None, config: ModelConfig) -> jax.Array:
    """Rotary position embedding (Su et al., 2021, eq. 34) of the first `rotary` dimensions.

    Shape and type of the result are those of x.
    """
    if turned is None:
        return x_BxHxTxD
    first, kept = x_BxHxTxD[..., : config.rotary], x_BxHxTxD[..., config.rotary :]
    first = first.astype(jnp.float32)
    adjacent = config.rotary_pairs == "adjacent"
    a, b = (first[..., i::2] for i in (0, 1)) if adjacent else jnp.split(first, 2, axis=-1)
    pairs = (a * turned.cos - b * turned.sin, b * turned.cos + a * turned.sin)
    if adjacent:
        first = jnp.stack(pairs, axis=-1).reshape(first.shape)
    else:
        first = jnp.concatenate(pairs, axis=-1)
    return jnp.concatenate((first.astype(x_BxHxTxD.dtype), kept), axis=-1)


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
