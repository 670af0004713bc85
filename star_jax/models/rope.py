"""Rotary position embedding, and its scaling for longer contexts.

Shapes: B rows, H heads, T tokens, D head_dim.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from star_jax.models.config import ModelConfig, RopeScaling


class SinCos(NamedTuple):
    """Sines and cosines of the angles at each position, float32 [B, 1, T, rotary / 2]."""

    sin: jax.Array
    cos: jax.Array


def sin_cos(positions_BxT: jax.Array, config: ModelConfig, local: bool = False) -> SinCos | None:
    """Returns the sines and cosines of int32 positions; None if no dimension is rotated.

    Args:
        positions_BxT: int32 positions.
        config: configuration of the decoder.
        local: True for layers with a window, which may have a wavelength base of their own.
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
    result = SinCos(jnp.sin(angles), jnp.cos(angles))
    if not config.compute.on_cpu:
        return result
    # On a CPU XLA repeats the sines for each head of each layer, unless they come from a product.
    one = jnp.eye(config.rotary // 2)
    return SinCos(*(jnp.matmul(x, one, precision=jax.lax.Precision.HIGHEST) for x in result))


def rotate(x_BxHxTxD: jax.Array, sin_cos: SinCos | None, config: ModelConfig) -> jax.Array:
    """Applies rotary position embedding (Su et al., 2021, eq. 34) to the first `rotary` dimensions.

    Args:
        x_BxHxTxD: queries or keys.
        sin_cos: sines and cosines of their positions; None: x is returned as it is.
        config: configuration of the decoder.

    Returns:
        The rotated x, of the same shape and type.
    """
    if sin_cos is None:
        return x_BxHxTxD
    first, rest = x_BxHxTxD[..., : config.rotary], x_BxHxTxD[..., config.rotary :]
    first = first.astype(jnp.float32)
    adjacent = config.rotary_pairs == "adjacent"
    a, b = (first[..., i::2] for i in (0, 1)) if adjacent else jnp.split(first, 2, axis=-1)
    pairs = (a * sin_cos.cos - b * sin_cos.sin, b * sin_cos.cos + a * sin_cos.sin)
    if adjacent:
        first = jnp.stack(pairs, axis=-1).reshape(first.shape)
    else:
        first = jnp.concatenate(pairs, axis=-1)
    return jnp.concatenate((first.astype(x_BxHxTxD.dtype), rest), axis=-1)


def frequencies(rotary: int, base: float, scaling: RopeScaling | None) -> jax.Array:
    """Returns radians per position for each of the rotary / 2 pairs."""
    half = rotary // 2
    radians = base ** (-jnp.arange(half, dtype=jnp.float32) / half)
    if scaling is None:
        return radians
    if scaling.kind == "linear":
        return radians / scaling.factor
    # Llama 3.1: wavelengths that fit `high` times into the original context stay, those that do not
    # fit `low` times are stretched, and those between are blended.
    turns = scaling.original * radians / (2 * math.pi)
    share = jnp.clip((turns - scaling.low) / (scaling.high - scaling.low), 0.0, 1.0)
    return radians * (share + (1 - share) / scaling.factor)
