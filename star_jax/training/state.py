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
    """The state that a training step reads and replaces.

    Attributes:
        params: weights of the learner, in `ComputeConfig.param_dtype`.
        opt_state: optimizer moments, sharded like `params`.
        step: [] int32, number of updates since the state was created.
        policy: weights that the fused step samples with; None: it samples with the learner's own,
            or the step does not sample.
    """

    params: Params
    opt_state: optax.OptState
    step: jax.Array
    policy: Params | None = None


def init_state(
    params: Params, optimizer: optax.GradientTransformation, policy: Params | None = None
) -> StarState:
    """Returns a state with weights `params` and a fresh optimizer."""
    opt_state = optimizer.init(params)
    return StarState(params=params, opt_state=opt_state, step=jnp.int32(0), policy=policy)


def abstract_state(
    config: ModelConfig,
    mesh: Mesh,
    optimizer: optax.GradientTransformation,
    *,
    policy: bool = False,
) -> StarState:
    """Returns shapes, types and shardings of a state; moments and policy are sharded as weights.

    Args:
        config: configuration of the decoder.
        mesh: devices, real or abstract.
        optimizer: optimizer of the learner.
        policy: True if the state has a policy of its own.
    """

    def make(params: Params) -> StarState:
        return init_state(
            params, optimizer, as_policy(params, config.compute.dtype) if policy else None
        )

    return with_shardings(jax.eval_shape(make, abstract_params(config, mesh)), mesh)
