"""The functional state: weights split from the modules once, and what training adds to them."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh

from star_jax.model.abstract import abstract_params, with_shardings
from star_jax.model.config import ModelConfig
from star_jax.model.decoder import Decoder

Params = Any  # nnx.State: a pytree of nnx.Param, each with its logical axes


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class StarState:
    """What a training step reads and replaces.

    Attributes:
        params: weights of the learner, float32.
        opt_state: optimizer moments, laid out like `params`.
        step: [] int32, updates done since the state was made.
    """

    params: Params
    opt_state: optax.OptState
    step: jax.Array


def graph(config: ModelConfig) -> nnx.GraphDef:
    """The modules without their weights; `nnx.merge(graph, params)` is a `Decoder` again."""
    return nnx.split(nnx.eval_shape(lambda: Decoder(config, nnx.Rngs(0))))[0]


def init_params(config: ModelConfig, key: jax.Array) -> Params:
    """Freshly drawn weights."""
    return nnx.split(Decoder(config, nnx.Rngs(params=key)))[1]


def init_state(params: Params, optimizer: optax.GradientTransformation) -> StarState:
    """A learner that starts from `params` with an optimizer that has seen nothing."""
    return StarState(params, optimizer.init(params), jnp.int32(0))


def abstract_state(
    config: ModelConfig, mesh: Mesh, optimizer: optax.GradientTransformation
) -> StarState:
    """Shapes, types and shardings of a learner; moments lie where their weights lie."""
    params = abstract_params(config, mesh)
    return with_shardings(jax.eval_shape(lambda p: init_state(p, optimizer), params), mesh)


def count(params: Params) -> int:
    """Number of weights."""
    return sum(x.size for x in jax.tree.leaves(params))
