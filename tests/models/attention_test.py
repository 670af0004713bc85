import functools
import types
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from star_jax.models import attention
from star_jax.models.attention import Layer
from star_jax.runtime import sharding

LAYERS = {
    "plain": Layer(0, window=0, scale=0.125, cap=0.0),
    "window": Layer(0, window=37, scale=0.125, cap=0.0),
    "cap": Layer(0, window=0, scale=0.125, cap=3.0),
}
ROWS, HEADS, LENGTH, SIZE = 2, 4, 256, 64
SEGMENTS = jnp.asarray(
    np.stack([np.repeat([1, 2, 3, 0], [100, 29, 101, 26]), np.repeat([1, 2], [3, 253])]), jnp.int32
)


def drawn(heads: int, seed: int, length: int = LENGTH) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), (ROWS, heads, length, SIZE))


def values_and_gradients(run: Any, keys: int, segments: jax.Array = SEGMENTS) -> Any:
    length = segments.shape[1]
    inputs = tuple(drawn(n, seed, length) for seed, n in enumerate((HEADS, keys, keys)))
    weights = drawn(HEADS, 3, length) * (segments > 0)[:, None, :, None]

    def loss(*inputs: jax.Array) -> tuple[jax.Array, jax.Array]:
        out = run(*inputs)
        return (out * weights).sum(), out

    (_, out), gradients = jax.value_and_grad(loss, (0, 1, 2), has_aux=True)(*inputs)
    return out, gradients


def plain(layer: Layer) -> Any:
    return lambda q, k, v: attention.attend_segments(SEGMENTS)(layer, q, k, v, ())[0]


def close(found: Any, expected: Any) -> None:
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=2e-5), found, expected
    )


@pytest.mark.parametrize("keys", [HEADS, 2])
@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_splash_attention_is_the_plain_formula(layer: Layer, keys: int):
    def run(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        return attention.splash_segments(layer, q, k, v, SEGMENTS, interpret=True)

    close(values_and_gradients(run, keys), values_and_gradients(plain(layer), keys))


@pytest.mark.parametrize("keys", [HEADS, 2])
@pytest.mark.parametrize("name", ["plain", "window"])
def test_what_is_asked_of_cudnn_is_the_plain_formula(name: str, keys: int):
    def run(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        return attention.dot_product_segments(LAYERS[name], q, k, v, SEGMENTS, implementation="xla")

    close(values_and_gradients(run, keys), values_and_gradients(plain(LAYERS[name]), keys))


# Lengths of the segments of two rows: what queries see begins within the 128, 256 or 384 keys
# before the last of them, anywhere, or all this at once.
PACKED = {
    "short": ([64] * 10, [40, 100] * 4 + [80]),
    "middle": ([200] * 3 + [40], [150, 250, 240]),
    "long": ([640], [640]),
    "mixed": ([64] * 10, [5, 380, 255]),
}


@pytest.mark.parametrize("name", ["plain", "window"])
@pytest.mark.parametrize("lengths", PACKED.values(), ids=PACKED)
def test_packed_segments_are_attended_to_as_by_jaxs_own_attention(name: str, lengths: Any):
    numbers = [np.repeat(np.arange(1, len(row) + 1), row) for row in lengths]
    segments = jnp.asarray(np.stack(numbers), jnp.int32)

    def theirs(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        return attention.dot_product_segments(LAYERS[name], q, k, v, segments, implementation="xla")

    def ours(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        return attention.attend_segments(segments)(LAYERS[name], q, k, v, ())[0]

    close(*(values_and_gradients(run, 2, segments) for run in (ours, theirs)))


def test_it_is_known_where_the_segments_begin():
    """Of the row in which that is the earliest."""
    np.testing.assert_array_equal(
        attention.segment_starts(jnp.array([[1, 1, 2, 2, 3, 0, 0], [1, 2, 2, 2, 2, 2, 3]]), None),
        [0, 0, 1, 1, 1, 1, 5],
    )
    assert attention.segment_starts(SEGMENTS, cast(Any, on("tpu"))) is None


def on(kind: str) -> Any:
    """A mesh of one device that is not there."""
    name = {"tpu": "TPU v4", "tpu v3": "TPU v3"}.get(kind, kind)
    capability = {"gpu": "9.0", "gpu of Turing": "7.5", "gpu of AMD": "gfx942"}.get(kind)
    device = types.SimpleNamespace(
        platform=kind.split()[0], device_kind=name, compute_capability=capability
    )
    return types.SimpleNamespace(devices=np.full((1, 1, 1), device))


@pytest.mark.parametrize(
    ("platform", "layer", "length", "size", "dtype", "chosen"),
    [
        ("tpu", "plain", 1536, 256, "bfloat16", "splash"),
        ("tpu", "cap", 1536, 64, "float32", "splash"),
        ("tpu v3", "plain", 1536, 256, "bfloat16", "xla"),
        ("tpu", "plain", 1500, 256, "bfloat16", "xla"),
        ("tpu", "plain", 1536, 96, "bfloat16", "xla"),
        ("gpu", "window", 1536, 128, "bfloat16", "cudnn"),
        ("gpu of Turing", "window", 1536, 128, "bfloat16", "xla"),
        ("gpu of AMD", "window", 1536, 128, "bfloat16", "xla"),
        ("gpu", "plain", 1536, 128, "float32", "xla"),
        ("gpu", "cap", 1536, 128, "bfloat16", "xla"),
        ("gpu", "plain", 1536, 256, "bfloat16", "xla"),
        ("gpu", "plain", 1544, 128, "bfloat16", "xla"),
        ("cpu", "plain", 1536, 128, "bfloat16", "xla"),
    ],
)
def test_the_kernel_is_that_of_the_meshs_devices(
    platform: str, layer: str, length: int, size: int, dtype: str, chosen: str, monkeypatch
):
    monkeypatch.setattr(attention, "_splits", lambda *_: True)
    x = cast(Any, jax.ShapeDtypeStruct((1, 8, length, size), dtype))
    assert attention.kernel(on(platform), LAYERS[layer], x, x) == chosen
    assert attention.kernel(None, LAYERS[layer], x, x) == "xla"


@pytest.mark.parametrize(
    ("rows", "heads", "keys", "splits"),
    [(4, 8, 8, True), (3, 8, 8, False), (4, 6, 6, False), (4, 8, 2, False)],
)
def test_a_kernel_is_for_what_splits_evenly(rows: int, heads: int, keys: int, splits: bool):
    grid = sharding.without_devices(1, 2, 4)
    q, k = (cast(Any, jax.ShapeDtypeStruct((rows, n, 128, 64), "float32")) for n in (heads, keys))
    assert attention._splits(grid, q, k) == splits
