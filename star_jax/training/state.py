"""The functional state: weights split from the modules once, and what training adds to them."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh

from star_jax.models import stacking
from star_jax.models.abstract_params import abstract_params, with_shardings
from star_jax.models.config import ModelConfig
from star_jax.models.transformer import Decoder

Params = Any  # nnx.State: a pytree of nnx.Param, each with its logical axes


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class StarState:
    """What a training step reads and replaces.

    Attributes:
        params: weights of the learner, float32.
        opt_state: optimizer moments, laid out like `params`.
        step: [] int32, updates done since the state was made.
        policy: weights that the fused step samples with; None: the learner's own, or no step that
            samples.
    """

    params: Params
    opt_state: optax.OptState
    step: jax.Array
    policy: Params | None = None


def init_params(config: ModelConfig, key: jax.Array) -> Params:
    """Freshly drawn weights."""
    return nnx.split(Decoder(config, nnx.Rngs(params=key)))[1]


def init_state(
    params: Params, optimizer: optax.GradientTransformation, policy: Params | None = None
) -> StarState:
    """A learner that starts from `params` with an optimizer that has seen nothing."""
    return StarState(params, optimizer.init(params), jnp.int32(0), policy)


def as_policy(params: Params, dtype: str) -> Params:
    """A copy of the weights to sample with: matrices in the type that they are computed with.

    That is what each of their uses would make of them, so nothing is lost. Vectors, the scales of
    normalisation among them, are used as they are kept.
    """

    def copy(weight: nnx.Variable) -> nnx.Variable:
        matrix = len(set(weight.get_metadata("axes")) - {stacking.AXIS}) > 1
        return weight.replace(weight[...].astype(dtype) if matrix else jnp.copy(weight[...]))

    return jax.tree.map(copy, params, is_leaf=lambda x: isinstance(x, nnx.Variable))


def abstract_state(
    config: ModelConfig,
    mesh: Mesh,
    optimizer: optax.GradientTransformation,
    *,
    policy: bool = False,
) -> StarState:
    """Shapes, types and shardings of a learner; moments and policy lie where their weights lie.

    Args:
        config: of the decoder.
        mesh: of devices, or abstract.
        optimizer: of the learner.
        policy: whether it has one of its own.
    """

    def make(params: Params) -> StarState:
        return init_state(params, optimizer, as_policy(params, config.dtype) if policy else None)

    return with_shardings(jax.eval_shape(make, abstract_params(config, mesh)), mesh)


def count(params: Params) -> int:
    """Number of weights."""
    return sum(x.size for x in jax.tree.leaves(params))
