"""The weights as a pytree: drawn at random, copied for sampling, counted."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from star_jax.models import stacking
from star_jax.models.config import ModelConfig
from star_jax.models.transformer import Decoder

Params = Any  # nnx.State: a pytree of nnx.Param, each with its logical axes


def init_params(config: ModelConfig, key: jax.Array) -> Params:
    """Draws random weights."""
    return nnx.split(Decoder(config, nnx.Rngs(params=key)))[1]


def as_policy(params: Params, dtype: str) -> Params:
    """Copies the weights to sample with: matrices are converted to `dtype`, vectors are not.

    Every product would convert its matrix anyway, so no precision is lost. Vectors, such as the
    scales of normalisation, are used in the type that they are stored in.
    """

    def copy(weight: nnx.Variable) -> nnx.Variable:
        matrix = len(set(weight.get_metadata("axes")) - {stacking.AXIS}) > 1
        return weight.replace(weight[...].astype(dtype) if matrix else jnp.copy(weight[...]))

    return jax.tree.map(copy, params, is_leaf=lambda x: isinstance(x, nnx.Variable))


def count_params(params: Params) -> int:
    """Returns the number of weights."""
    return sum(x.size for x in jax.tree.leaves(params))
