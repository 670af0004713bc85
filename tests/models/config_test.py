import dataclasses

import jax
import pytest
from flax import nnx

from star_jax.models.config import ModelConfig
from star_jax.models.params import count_params, init_params

GPT_J_6B = ModelConfig(
    layers=28, width=4096, heads=16, head_dim=256, hidden=16384, rotary=64, vocab=50400, context=2048
)  # fmt: skip


def test_gpt_j_has_as_many_weights_as_was_published():
    shapes = nnx.eval_shape(lambda: init_params(GPT_J_6B, jax.random.key(0)))
    assert count_params(shapes) == 6_050_882_784
    assert {str(x.dtype) for x in jax.tree.leaves(shapes)} == {"float32"}


def test_what_is_not_said_is_as_in_gpt_j():
    assert (GPT_J_6B.compute.dtype, GPT_J_6B.norm_epsilon, GPT_J_6B.rotary_base) == (
        "float32",
        1e-5,
        1e4,
    )


def test_a_config_names_one_program():
    assert hash(GPT_J_6B) == hash(dataclasses.replace(GPT_J_6B))
    assert GPT_J_6B != dataclasses.replace(GPT_J_6B, rotary=32)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"kv_heads": 5}, "heads must be a multiple of kv_heads"),
        ({"windows": (4, 0)}, "windows: one per layer"),
        ({"parallel": False}, "shared_norm goes with parallel"),
        ({"rotary": 7}, "rotary: even, at most head_dim"),
        ({"rotary": 512}, "rotary: even, at most head_dim"),
    ],
)
def test_what_contradicts_itself_is_refused(changes: dict, says: str):
    with pytest.raises(ValueError, match=says):
        dataclasses.replace(GPT_J_6B, **changes)


def test_windows_are_by_layer():
    some = dataclasses.replace(GPT_J_6B, windows=(4, 0) * 14)
    assert [some.window(layer) for layer in range(3)] == [4, 0, 4]
    assert GPT_J_6B.window(27) == 0
