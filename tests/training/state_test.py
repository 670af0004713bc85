import jax
import jax.numpy as jnp
import numpy as np
import pytest

import toys
from star_jax.runtime import sharding
from star_jax.training import state
from toys import SMALL, eight_devices


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
