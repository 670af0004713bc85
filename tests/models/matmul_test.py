import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import toys
from star_jax.data.packing import Packed
from star_jax.models.abstract_params import abstract_params, graph
from star_jax.models.config import ModelConfig
from star_jax.models.matmul import embed, matmul, matmuls
from star_jax.models.params import Params, init_params
from star_jax.runtime import sharding
from star_jax.training import step
from toys import eight_devices

SHAPES = [
    ((2, 5, 24), (24, 3, 8), False),
    ((1, 1, 24), (24, 7), False),
    ((130, 64), (200, 64), True),
]


def drawn(x: tuple[int, ...], weight: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    return jax.random.normal(jax.random.key(0), x), jax.random.normal(jax.random.key(1), weight)


@pytest.mark.parametrize(("x", "weight", "rows"), SHAPES)
@pytest.mark.parametrize("wide", [False, True])
def test_float32_is_the_plain_product(x, weight, rows, wide):
    a, b = drawn(x, weight)
    expected = np.tensordot(a, b, ((-1,), (1,)) if rows else 1)
    np.testing.assert_allclose(matmul(a, b, wide=wide, rows=rows), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("widths", [(3, 1, 1), (2, 2, 2)])
def test_products_with_several_weights_are_each_a_product(
    dtype: Any, wide: bool, widths: tuple[int, ...]
):
    draws = np.random.default_rng(0)
    x = jnp.asarray(draws.normal(size=(2, 5, 24)), dtype)
    weights = [jnp.asarray(draws.normal(size=(24, n, 8)), jnp.float32) for n in widths]
    found, back = jax.vjp(lambda x, weights: matmuls(x, weights, wide=wide), x, weights)
    towards = [jnp.asarray(draws.normal(size=one.shape), dtype) for one in found]
    of_x, of_weights = back(towards)
    rtol, atol = (1e-5, 1e-5) if dtype == jnp.float32 else (2e-2, 0.1)
    close = functools.partial(np.testing.assert_allclose, rtol=rtol, atol=atol)
    exact = np.asarray(x, np.float64)
    for one, weight, of_weight, toward in zip(found, weights, of_weights, towards, strict=True):
        assert one.dtype == dtype and of_weight.dtype == jnp.float32
        close(one, np.tensordot(exact, weight, 1))
        expected = np.einsum("bte,btnd->end", exact, np.asarray(toward, np.float64))
        close(of_weight, expected)
    expected = sum(
        np.einsum("btnd,end->bte", np.asarray(toward, np.float64), np.asarray(weight, np.float64))
        for weight, toward in zip(weights, towards, strict=True)
    )
    close(of_x, expected)


@pytest.mark.parametrize(("x", "weight", "rows"), SHAPES)
@pytest.mark.parametrize(
    ("dtype", "kept"),
    [(jnp.bfloat16, jnp.float32), (jnp.bfloat16, jnp.bfloat16), (jnp.float32, jnp.float32)],
)
def test_wide_products_are_those_of_float32_of_the_same_numbers(x, weight, rows, dtype, kept):
    a, b = (y.astype(dtype) for y in drawn(x, weight))
    b = b.astype(kept)
    towards = jax.random.normal(jax.random.key(2), (*x[:-1], *(weight[:1] if rows else weight[1:])))
    towards = towards.astype(jnp.bfloat16)  # a gradient that is a number of bfloat16, too

    @jax.jit
    def wide(a: jax.Array, b: jax.Array) -> jax.Array:
        return matmul(a, b, wide=True, rows=rows)

    def plain(a: jax.Array, b: jax.Array) -> jax.Array:
        return matmul(a, b, wide=False, rows=rows)

    found, back = jax.vjp(wide, a, b)
    expected, plainly = jax.vjp(plain, *(y.astype(jnp.float32) for y in (a, b)))
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)
    for one, other, given in zip(
        back(towards.astype(found.dtype)), plainly(towards.astype(jnp.float32)), (a, b), strict=True
    ):
        assert one.dtype == given.dtype and one.shape == given.shape
        exact = given.dtype == jnp.float32
        np.testing.assert_allclose(
            one.astype(jnp.float32), other, rtol=1e-5 if exact else 2**-8, atol=1e-4
        )


BOTH = pytest.mark.parametrize("config", [toys.SMALL, toys.EVERYTHING], ids=["gpt-j", "others"])


@functools.partial(jax.jit, static_argnums=0)
def gradients(config: ModelConfig, params: Params) -> Params:
    """Of the loss of eight sequences."""
    tokens = jax.random.randint(jax.random.key(1), (8, 24), 0, config.vocab)
    positions = jnp.arange(24)[None].repeat(8, 0)
    batch = Packed(tokens, jnp.ones_like(tokens), positions, jnp.ones(tokens.shape))

    def loss(params: Params) -> jax.Array:
        return step.token_loss(nnx.merge(graph(config), params), batch)[0]

    return jax.grad(loss)(params)


def joined(params: Params) -> np.ndarray:
    """All weights in a row."""
    return np.concatenate([np.asarray(x, np.float64).ravel() for x in jax.tree.leaves(params)])


@BOTH
def test_the_gradient_of_a_wide_decoder_is_no_further_from_that_of_float32(config: ModelConfig):
    params = init_params(config, jax.random.key(0))

    def gradient(**changes: Any) -> np.ndarray:
        return joined(gradients(toys.replace(config, **changes), params))

    exact = gradient()
    plain, wide = (
        np.linalg.norm(gradient(dtype="bfloat16", on_cpu=each) - exact) / np.linalg.norm(exact)
        for each in (False, True)
    )
    assert 0 < wide < 1.15 * plain < 0.1


@eight_devices
@BOTH
def test_eight_devices_find_the_same_gradient(config: ModelConfig):
    config = toys.replace(config, dtype="bfloat16", on_cpu=True)
    params = init_params(config, jax.random.key(0))
    layouts = jax.tree.map(
        lambda x: x.sharding, abstract_params(config, sharding.make_mesh(2, 2, 2))
    )
    one, many = (joined(gradients(config, x)) for x in (params, jax.device_put(params, layouts)))
    assert np.linalg.norm(many - one) < 0.02 * np.linalg.norm(one)


class TestLookedUp:
    def test_rows_in_another_type(self):
        table = jnp.arange(12.0).reshape(4, 3) / 7
        found = embed(table, jnp.array([[3, 0]]), jnp.bfloat16)
        np.testing.assert_array_equal(found, table[jnp.array([[3, 0]])].astype(jnp.bfloat16))

    def test_a_token_that_is_everywhere_is_counted_every_time(self):
        # in bfloat16 a sum of ones ends at 256
        count, table = 600, jnp.ones((4, 3))
        index = jnp.full(count, 2)
        gradient = jax.grad(lambda t: jnp.sum(embed(t, index, jnp.bfloat16)))(table)
        np.testing.assert_array_equal(gradient, np.eye(4)[:, 2:3] * np.full(3, count))

    def test_its_gradient_is_not_moved_out_of_a_loop(self):
        def loss(table: jax.Array, index: jax.Array) -> jax.Array:
            return jnp.sum(embed(table, index, jnp.float32) ** 2)

        traced = str(jax.make_jaxpr(jax.grad(loss))(jnp.ones((4, 3)), jnp.array([2, 2])))
        assert traced.index("scatter-add") < traced.index("optimization_barrier")
