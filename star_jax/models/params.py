"""The weights as a pytree, split from the modules once: drawn, counted, cast for sampling."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from star_jax.models import stacking
from star_jax.models.config import ModelConfig
from star_jax.models.transformer import Decoder

Params = Any  # nnx.State: a pytree of nnx.Param, each with its logical axes


def init_params(config: ModelConfig, key: jax.Array) -> Params:
    """Freshly drawn weights."""
    return nnx.split(Decoder(config, nnx.Rngs(params=key)))[1]


def as_policy(params: Params, dtype: str) -> Params:
    """A copy of the weights to sample with: matrices in the type that they are computed with.

    That is what each of their uses would make of them, so nothing is lost. Vectors, the scales of
    normalisation among them, are used as they are kept.
    """

    def copy(weight: nnx.Variable) -> nnx.Variable:
        matrix = len(set(weight.get_metadata("axes")) - {stacking.AXIS}) > 1
        return weight.replace(weight[...].astype(dtype) if matrix else jnp.copy(weight[...]))

    return jax.tree.map(copy, params, is_leaf=lambda x: isinstance(x, nnx.Variable))


def count_params(params: Params) -> int:
    """Number of weights."""
    return sum(x.size for x in jax.tree.leaves(params))
