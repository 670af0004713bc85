import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import toys
from star_jax.models import stacking
from star_jax.models.attention import attend_segments
from star_jax.models.transformer import Keep

TOKENS = jnp.asarray([document.tokens for document in toys.documents([9, 9], 32)], jnp.int32)
POSITIONS = jnp.arange(9)[None].repeat(2, 0)


@pytest.mark.parametrize("config", [toys.SMALL, toys.EVERYTHING], ids=["gpt-j", "windows"])
@pytest.mark.parametrize("keep", ["everything", "products", "inputs"])
def test_a_scan_computes_what_blocks_one_after_the_other_do(config, keep: Keep):
    params = toys.params(config)

    def loss(params, apart: bool):
        model = nnx.merge(toys.graph(config), params)
        model = model.unstacked() if apart else model
        x, _ = model.hidden(TOKENS, POSITIONS, attend_segments(TOKENS * 0 + 1), keep=keep)
        return jnp.sum(x * jnp.cos(jnp.arange(x.size).reshape(x.shape)))

    run = jax.jit(jax.value_and_grad(loss), static_argnums=1)
    scanned, apart = run(params, False), run(params, True)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-4, atol=1e-4), scanned, apart
    )


@pytest.mark.parametrize("apart", [False, True])
def test_a_program_holds_one_period_of_the_layers(apart):
    def size(config) -> int:
        graph, params = toys.graph(config), toys.params(config)

        def run(params):
            model = nnx.merge(graph, params)
            model = model.unstacked() if apart else model
            return model.hidden(TOKENS, POSITIONS, attend_segments(TOKENS * 0 + 1))[0]

        return jax.jit(run).lower(params).as_text().count("stablehlo.dot_general")

    two, eight = (toys.replace(toys.SMALL, layers=count) for count in (2, 8))
    assert size(two) == size(eight)
    windows = toys.replace(toys.SMALL, layers=8, windows=(3, 0) * 4)
    assert (eight.period, windows.period) == (1, 2)
    assert size(windows) == 2 * size(eight)


@pytest.mark.parametrize("windows", [(), (3, 0) * 4], ids=["alike", "in pairs"])
@pytest.mark.parametrize("keep", ["products", "inputs"])
def test_a_gradient_keeps_no_copy_of_the_weights(keep: Keep, windows):
    config = toys.replace(toys.SMALL, layers=8, windows=windows)

    def loss(params):
        model = nnx.merge(toys.graph(config), params)
        return model.hidden(TOKENS, POSITIONS, attend_segments(TOKENS * 0 + 1), keep=keep)[0].sum()

    params = toys.params(config)
    found = jax.make_jaxpr(jax.grad(loss))(params).jaxpr.eqns
    forward = next(each for each in found if each.primitive.name == "scan")
    kept = [each.aval.shape for each in forward.outvars]
    weights = {x.shape[1:] for x in jax.tree.leaves(params["blocks"]) if x.ndim > 2}
    assert (16, 24) in weights and any(shape[-3:] == (2, 9, 16) for shape in kept)
    assert not any(shape[-len(weight) :] == weight for shape in kept for weight in weights)


@pytest.mark.parametrize("normed", [False, True])
@pytest.mark.parametrize("cpu", [False, True])
@pytest.mark.parametrize("kv_heads", [1, 2])
def test_a_gradient_that_keeps_products_makes_none_twice_and_turns_no_heads_again(
    normed, cpu, kv_heads
):
    config = toys.replace(toys.SMALL, qk_norm=normed, on_cpu=cpu, kv_heads=kv_heads)
    joined = cpu and kv_heads == 1

    def count(keep: Keep) -> tuple[int, int]:
        """Products of a gradient, and how often it puts turned halves of heads together."""

        def loss(params):
            model = nnx.merge(toys.graph(config), params)
            attend = attend_segments(TOKENS * 0 + 1)
            return model.hidden(TOKENS, POSITIONS, attend, keep=keep)[0].sum()

        text = jax.jit(jax.grad(loss)).lower(toys.params(config)).as_text()
        return text.count("stablehlo.dot_general"), text.count("stablehlo.concatenate")

    products, turned = count("everything")
    nothing = count("inputs")
    # A CPU multiplies at once with weights that differ in width, which it puts together again.
    assert nothing[0] == products + (4 if joined else 6) and nothing[1] > turned + joined
    # The gradient of a normalisation needs what was not turned yet; where queries share keys, what
    # keeps the inputs alone puts their masks together again, too.
    again = nothing[1] - (kv_heads == 1)
    assert count("products") == (products, again if normed else turned + joined)


@pytest.mark.parametrize("layer", [1, jnp.int32(1)], ids=["known", "traced"])
def test_what_is_put_into_a_layer_is_there_and_nowhere_else(layer):
    stack = jnp.zeros((3, 2, 4, 2))
    new = jnp.ones((2, 1, 2))
    put = stacking.put(stack, layer, new, (0, 2, 0))
    assert (stacking.take(put, layer)[:, 2] == 1).all() and jnp.sum(jnp.asarray(put)) == 4
    apart = stacking.put(stacking.unstack(stack), 1, new, (0, 2, 0))
    assert jnp.array_equal(jnp.stack(list(apart)), jnp.asarray(put))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_moved_values_are_the_same_to_the_bit_and_never_turned_to_another_type(dtype):
    odd = jnp.asarray([0.0, -0.0, 1e-40, jnp.inf, -jnp.inf, jnp.nan, 1.0, -3.0], dtype)
    old, new, rows = jnp.tile(odd, (6, 1)), odd[None, ::-1], jnp.asarray([4])

    def move(old: jax.Array, new: jax.Array) -> jax.Array:
        return old.at[rows].set(new)

    program = jax.jit(functools.partial(stacking.move_bits, move)).lower(old, new).compile()
    found, expected = (np.asarray(x).view(np.uint8) for x in (program(old, new), old))
    assert (np.delete(found, 4, 0) == np.delete(expected, 4, 0)).all()
    assert (found[4] == np.asarray(new[0]).view(np.uint8)).all()
    assert " convert(" not in (program.as_text() or " convert(")


def test_names_of_the_layers():
    assert stacking.names("blocks.mlp.up.value", 2) == [
        "blocks.0.mlp.up.value",
        "blocks.1.mlp.up.value",
    ]
    assert stacking.names("head.value", 2) == ["head.value"]
    assert stacking.names("norm.scale.value", 2) == ["norm.scale.value"]
