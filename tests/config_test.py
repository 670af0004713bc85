import dataclasses

import jax
from flax import nnx

from star_jax import state
from star_jax.model.config import ModelConfig

GPT_J_6B = ModelConfig(
    layers=28, width=4096, heads=16, head_dim=256, hidden=16384, rotary=64, vocab=50400, context=2048
)  # fmt: skip


def test_gpt_j_has_as_many_weights_as_was_published():
    shapes = nnx.eval_shape(lambda: state.init_params(GPT_J_6B, jax.random.key(0)))
    assert state.count(shapes) == 6_050_882_784
    assert {str(x.dtype) for x in jax.tree.leaves(shapes)} == {"float32"}


def test_what_is_not_said_is_as_in_gpt_j():
    assert (GPT_J_6B.dtype, GPT_J_6B.norm_epsilon, GPT_J_6B.rotary_base) == ("float32", 1e-5, 1e4)


def test_a_config_names_one_program():
    assert hash(GPT_J_6B) == hash(dataclasses.replace(GPT_J_6B))
    assert GPT_J_6B != dataclasses.replace(GPT_J_6B, rotary=32)
