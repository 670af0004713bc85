import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import reference
import toys
from star_jax.models import abstract_params
from star_jax.models.params import init_params
from star_jax.models.transformer import Decoder
from star_jax.runtime import sharding
from star_jax.training import state
from toys import SMALL, eight_devices

INIT = jax.jit(lambda seed: init_params(SMALL, jax.random.key(seed)))


def test_graph_and_params_are_a_decoder_again():
    params = toys.params(SMALL)
    model = nnx.merge(abstract_params.graph(SMALL), params)
    assert isinstance(model, Decoder) and model.config == SMALL
    again = nnx.split(model)[1]
    assert jax.tree.structure(again) == jax.tree.structure(params)
    assert all(map(np.array_equal, jax.tree.leaves(again), jax.tree.leaves(params)))


def test_weights_follow_from_the_key():
    first, same, other = (reference.weights(INIT(seed)) for seed in (0, 0, 1))
    assert all((first[name] == same[name]).all() for name in first)
    drawn = {name for name in first if (first[name] != other[name]).any()}
    assert drawn == {name for name in first if "bias" not in name and "scale" not in name}


@pytest.mark.parametrize(
    ("name", "variance"),
    [
        ("embedding", 1),
        ("head", 1 / 16),
        ("blocks.0.attention.q", 1 / 16),
        ("blocks.1.mlp.up", 1 / 16),
        ("blocks.0.attention.out", 1 / 16 / 4),  # four branches add to the residual stream
        ("blocks.1.mlp.down", 1 / 24 / 4),
    ],
)
def test_weights_start_with_the_variance_that_keeps_the_stream_at_one(name: str, variance: float):
    assert reference.weights(INIT(0))[name].var() == pytest.approx(variance, rel=0.3)


def test_a_new_learner_has_a_fresh_optimizer():
    params = toys.params(SMALL)
    made = state.init_state(params, toys.optimizer())
    assert made.step == 0 and made.params is params
    assert not any(np.any(x) for x in jax.tree.leaves(made.opt_state))


@eight_devices
@pytest.mark.parametrize(
    ("name", "shard"),
    [
        ("embedding", (16, 8)),
        ("head", (8, 16)),
        ("blocks.attention.q", (2, 8, 1, 8)),
        ("blocks.attention.out", (2, 1, 8, 8)),
        ("blocks.mlp.up", (2, 8, 12)),
        ("blocks.mlp.down_bias", (2, 8)),
    ],
)
def test_weights_and_moments_are_split_alike(name: str, shard: tuple[int, ...]):
    learner = state.abstract_state(SMALL, sharding.make_mesh(2, 2, 2), toys.optimizer())
    leaves, _ = jax.tree_util.tree_flatten_with_path(learner)
    names = [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in leaves]
    found = [
        leaf.sharding.shard_shape(leaf.shape)
        for where, (_, leaf) in zip(names, leaves, strict=True)
        if where.endswith(f"{name}.value")
    ]
    assert found == [shard] * 3  # the weight and Adam's two moments


@eight_devices
def test_counters_are_on_every_device():
    learner = state.abstract_state(SMALL, sharding.make_mesh(2, 2, 2), toys.optimizer())
    assert learner.step.sharding.is_fully_replicated
    assert (learner.step.shape, learner.step.dtype) == ((), jnp.int32)
