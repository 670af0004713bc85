"""What a model takes of each device."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import toys
from star_jax.data.packing import Packed
from star_jax.models import memory
from star_jax.models.abstract_params import abstract_params
from star_jax.models.config import ModelConfig, for_mesh
from star_jax.models.transformer import Decoder
from star_jax.runtime.sharding import make_mesh, without_devices
from star_jax.training import step

LLAMA = ModelConfig(
    layers=4,
    width=576,
    heads=9,
    head_dim=64,
    hidden=1536,
    rotary=64,
    vocab=49_152,
    context=8192,
    kv_heads=3,
    parallel=False,
    shared_norm=False,
    norm="rms",
    activation="silu",
    gated=True,
    mlp_bias=False,
    head_bias=False,
    tied=True,
    rotary_pairs="halves",
)
GPTJ = ModelConfig(
    layers=3, width=512, heads=8, head_dim=64, hidden=2048, rotary=32, vocab=1000, context=2048
)
GEMMA = dataclasses.replace(
    LLAMA, heads=8, kv_heads=4, post_norms=True, qk_norm=True, windows=(32, 32, 32, 0)
)
SHAPES = {"gptj": GPTJ, "llama": LLAMA, "gemma": GEMMA}


@pytest.mark.parametrize("config", [LLAMA, GPTJ, GEMMA])
@pytest.mark.parametrize("sizes", [{}, {"data": 4}, {"fsdp": 8}, {"fsdp": 2, "tensor": 4}])
def test_weights_are_those_of_a_device(config: ModelConfig, sizes: dict[str, int]):
    grid = without_devices(**sizes)
    found = memory.estimate(config, grid, batch=8, length=16, dtype="bfloat16")
    fitted = toys.replace(for_mesh(config, grid), param_dtype="bfloat16")
    leaves = jax.tree.leaves(abstract_params(fitted, grid))
    expected = sum(np.prod(x.sharding.shard_shape(x.shape)) for x in leaves)
    assert found.sampling["weights"] == 2 * expected
    assert found.training["weights"] == found.training["gradients"] == 4 * expected
    assert found.training["Adam's moments"] == 8 * expected


def test_keys_and_values_and_logits():
    found = memory.estimate(LLAMA, without_devices(), batch=8, length=100, dtype="bfloat16")
    assert found.sampling["keys and values"] == 8 * 100 * 2 * 4 * 3 * 64 * 2
    assert found.sampling["logits"] == 8 * 49_152 * 4


def test_devices_share():
    whole = memory.estimate(GEMMA, without_devices(), batch=8, length=100)
    split = memory.estimate(GEMMA, without_devices(data=2, fsdp=2, tensor=2), batch=8, length=100)
    # of a row's logits there are parts on each device that shares the width
    for name, shares in (("keys and values", 8), ("logits", 4)):
        assert split.sampling[name] * shares == whole.sampling[name]
    assert split.training["activations, about"] * 4 > whole.training["activations, about"] / 2


def test_what_does_not_split_is_whole_on_every_device():
    whole = memory.estimate(LLAMA, without_devices(), batch=1, length=100)
    split = memory.estimate(
        LLAMA, without_devices(tensor=2), batch=1, length=100
    )  # 3 heads of keys
    assert split.sampling["keys and values"] == whole.sampling["keys and values"]


@pytest.mark.parametrize(
    ("batch", "length", "message"),
    [
        (6, 16, "--batch=6: must be a multiple of data x fsdp = 4"),
        (-4, 16, "--batch=-4: must be"),
        (4, 2049, "--length=2049: must be 1 to 2048, the model's context"),
    ],
)
def test_what_cannot_be_is_refused(batch: int, length: int, message: str):
    with pytest.raises(ValueError, match=message):
        memory.estimate(GPTJ, without_devices(data=2, fsdp=2), batch=batch, length=length)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("config", [LLAMA, GPTJ, GEMMA])
def test_the_formula_is_near_what_reverse_mode_keeps(config: ModelConfig, dtype: str):
    for rows, length in ((2, 128), (1, 1024)):
        found = memory.estimate(config, without_devices(), batch=rows, length=length, dtype=dtype)
        kept = residuals(toys.replace(config, dtype=dtype), rows, length)
        assert 0.6 < found.training["activations, about"] / kept < 1.6


def residuals(config: ModelConfig, rows: int, length: int) -> int:
    """Bytes of all arrays that the backward pass of a loss needs, weights aside."""
    graph, params = nnx.split(nnx.eval_shape(lambda: Decoder(config, nnx.Rngs(0))))
    tokens = jax.ShapeDtypeStruct((rows, length), jnp.int32)

    def loss(params: Any, tokens: jax.Array) -> jax.Array:
        batch = Packed(tokens, tokens, tokens, jnp.ones(tokens.shape))
        return step.token_loss(nnx.merge(graph, params), batch)[0]

    kept = jax.eval_shape(lambda p, t: jax.vjp(lambda q: loss(q, t), p)[1], params, tokens)
    whole = {x.shape for x in jax.tree.leaves(params)}
    whole |= {(shape[0] // config.period, config.period, *shape[1:]) for shape in whole}  # scanned
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(kept) if x.shape not in whole)


class TestRows:
    def test_memory_decides(self, monkeypatch):
        config = toys.replace(LLAMA, dtype="bfloat16")
        weights = memory.estimate(
            config, without_devices(), batch=1, length=1, dtype="bfloat16"
        ).sampling["weights"]
        row = 1.5 * 100 * 2 * 4 * 3 * 64 * 2 + 2 * 49_152 * 4
        prefix = 50 * 2 * 4 * 3 * 64 * 2
        for fitting in (1, 7, 30):
            room = weights + prefix + fitting * row
            monkeypatch.setattr(memory, "device_bytes", lambda grid, room=room: room)
            assert memory.rows_that_fit(config, without_devices(), length=100, prefix=50) == fitting
            shared = memory.rows_that_fit(config, without_devices(data=4), length=100, prefix=50)
            assert shared == 4 * fitting

    @pytest.mark.parametrize(("room", "rows"), [(0, 2), (2**50, 2 * memory.MOST_ROWS)])
    def test_there_are_some_and_not_too_many(self, monkeypatch, room: int, rows: int):
        monkeypatch.setattr(memory, "device_bytes", lambda grid: room)
        assert memory.rows_that_fit(LLAMA, without_devices(fsdp=2), length=100, prefix=0) == rows

    def test_a_cpu_has_its_share_of_the_host(self):
        one, eight = toys.one_device(), make_mesh()
        assert memory.device_bytes(one) == pytest.approx(8 * memory.device_bytes(eight), abs=8)
        assert memory.device_bytes(one) > 2**29
