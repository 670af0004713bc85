import math

import jax
import jax.numpy as jnp
import pytest

import toys
from star_jax.models.abstract_params import abstract_params
from star_jax.models.config import ModelConfig
from star_jax.models.params import count_params
from star_jax.runtime import sharding
from toys import SMALL, eight_devices


def test_abstract_params_are_what_init_makes():
    params, abstract = toys.params(SMALL), abstract_params(SMALL, toys.one_device())
    assert jax.tree.structure(params) == jax.tree.structure(abstract)
    for x, shape in zip(jax.tree.leaves(params), jax.tree.leaves(abstract), strict=True):
        assert (x.shape, x.dtype) == (shape.shape, shape.dtype) and x.dtype == jnp.float32
    assert (
        count_params(params)
        == count_params(abstract)
        == sum(x.size for x in jax.tree.leaves(params))
    )


GPT_J_6B = ModelConfig(
    layers=28, width=4096, heads=16, head_dim=256, hidden=16384, rotary=64, vocab=50400, context=2048
)  # fmt: skip
_ROTATED = {"parallel": False, "shared_norm": False, "norm": "rms", "gated": True, "rotary": 128,
            "activation": "silu", "mlp_bias": False, "head_bias": False, "head_dim": 128}  # fmt: skip
LLAMA_8B = ModelConfig(
    layers=32, width=4096, heads=32, kv_heads=8, hidden=14336, vocab=128256, context=131072, **_ROTATED
)  # fmt: skip
QWEN_7B = ModelConfig(
    layers=28, width=3584, heads=28, kv_heads=4, hidden=18944, vocab=152064, context=32768,
    qkv_bias=True, **_ROTATED,
)  # fmt: skip


@eight_devices
@pytest.mark.parametrize("sizes", [(1, 8, 1), (1, 2, 4), (2, 1, 4), (2, 2, 2)])
@pytest.mark.parametrize(
    ("config", "weights"),
    [(GPT_J_6B, 6_050_882_784), (LLAMA_8B, 8_030_261_248), (QWEN_7B, 7_615_616_512)],
    ids=["gpt-j-6b", "llama-3.1-8b", "qwen2.5-7b"],
)
def test_large_models_are_split_on_every_large_axis(
    config: ModelConfig, weights: int, sizes: tuple[int, int, int]
):
    made = sharding.make_mesh(*sizes)
    params = abstract_params(config, made)
    assert count_params(params) == weights, "as published"
    shares = made.shape["fsdp"] * made.shape["tensor"]
    each = 0
    for leaf in jax.tree.leaves(params):
        shard = math.prod(leaf.sharding.shard_shape(leaf.shape))
        each += shard
        split = leaf.size / shard
        large = [size for size in leaf.shape if size > config.layers]
        assert split == shares or math.prod(large) < 200_000, f"{leaf.shape} is split into {split}"
    assert each == pytest.approx(weights / shares, rel=1e-3)
