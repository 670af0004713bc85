"""Shapes, types and shardings of a model's weights, before the weights exist."""

import functools
from typing import Any

import jax
from flax import nnx
from jax.sharding import Mesh

from star_jax.models.config import ModelConfig
from star_jax.models.transformer import Decoder
from star_jax.runtime import sharding


def abstract_params(config: ModelConfig, mesh: Mesh) -> Any:
    """Returns the abstract weights: nnx.Param, each of a jax.ShapeDtypeStruct with its sharding.

    Args:
        config: configuration of the model.
        mesh: devices, real or abstract.
    """
    return with_shardings(_split(config)[1], mesh)


def graph(config: ModelConfig) -> nnx.GraphDef:
    """Returns the modules without weights; `nnx.merge(graph, params)` is a `Decoder` again."""
    return _split(config)[0]


@functools.cache
def _split(config: ModelConfig) -> tuple[nnx.GraphDef, Any]:
    """Traces the decoder's construction once for both; that takes 0.5 seconds for 30 blocks."""
    return nnx.split(nnx.eval_shape(lambda: Decoder(config, nnx.Rngs(0))))


def with_shardings(tree: Any, mesh: Mesh) -> Any:
    """Attaches to every leaf the sharding of its logical axes; plain arrays are replicated."""

    def attach(leaf: Any) -> Any:
        if isinstance(leaf, nnx.Variable):
            layout = sharding.divisible_sharding(mesh, leaf.shape, leaf.get_metadata("axes"))
            value = jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=layout)
            return leaf.replace(value)
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding.sharding(mesh))

    return jax.tree.map(attach, tree, is_leaf=lambda x: isinstance(x, nnx.Variable))
