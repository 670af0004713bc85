"""The functional state: weights split from the modules once, and what training adds to them."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh

from star_jax import mesh as mesh_lib
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


def abstract_params(config: ModelConfig, mesh: Mesh) -> Params:
    """Shapes, types and shardings of the weights, by each weight's logical axes."""
    shapes = nnx.eval_shape(lambda: init_params(config, jax.random.key(0)))
    return _with_shardings(shapes, mesh)


def abstract_state(
    config: ModelConfig, mesh: Mesh, optimizer: optax.GradientTransformation
) -> StarState:
    """Shapes, types and shardings of a learner; moments lie where their weights lie."""
    params = abstract_params(config, mesh)
    return _with_shardings(jax.eval_shape(lambda p: init_state(p, optimizer), params), mesh)


def count(params: Params) -> int:
    """Number of weights."""
    return sum(x.size for x in jax.tree.leaves(params))


def _with_shardings(tree: Any, mesh: Mesh) -> Any:
    """Attaches to every leaf the sharding that its logical axes ask for; plain arrays replicate."""

    def attach(leaf: Any) -> Any:
        if isinstance(leaf, nnx.Variable):
            layout = mesh_lib.fitting(mesh, leaf.shape, leaf.get_metadata("axes"))
            value = jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=layout)
            return leaf.replace(value)
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=mesh_lib.sharding(mesh))

    return jax.tree.map(attach, tree, is_leaf=lambda x: isinstance(x, nnx.Variable))
