"""The functional state of training: weights, optimizer state and step, one pytree."""

import dataclasses

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from star_jax.models.abstract_params import abstract_params, with_shardings
from star_jax.models.config import ModelConfig
from star_jax.models.params import Params, as_policy


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


def init_state(
    params: Params, optimizer: optax.GradientTransformation, policy: Params | None = None
) -> StarState:
    """A learner that starts from `params` with an optimizer that has seen nothing."""
    return StarState(params, optimizer.init(params), jnp.int32(0), policy)


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
        return init_state(
            params, optimizer, as_policy(params, config.compute.dtype) if policy else None
        )

    return with_shardings(jax.eval_shape(make, abstract_params(config, mesh)), mesh)
