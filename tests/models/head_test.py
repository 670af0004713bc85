from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import toys
from star_jax.models.head import Head, logits

CASES = pytest.mark.parametrize("cpu", [False, True])


def drawn(tied: bool, bias: bool) -> tuple[jax.Array, Head]:
    """A residual stream of two rows, and a head for it."""
    width, vocab = toys.SMALL.width, toys.SMALL.vocab
    keys = jax.random.split(jax.random.key(0), 3)
    matrix = jax.random.normal(keys[1], (vocab, width) if tied else (width, vocab))
    shift = jax.random.normal(keys[2], (vocab,)) if bias else None
    return jax.random.normal(keys[0], (2, 5, width)), Head(matrix, shift)


@CASES
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("changes", [{}, {"logit_cap": 2.0}, {"vocab_padding": 3}])
def test_logits_are_those_of_numpy(cpu: bool, tied: bool, bias: bool, changes: dict[str, Any]):
    config = toys.replace(toys.SMALL, tied=tied, on_cpu=cpu, **changes)
    x, head = drawn(tied, bias)
    expected = np.asarray(x, np.float64) @ np.asarray(head.matrix.T if tied else head.matrix)
    if head.bias is not None:
        expected = expected + np.asarray(head.bias)
    if "logit_cap" in changes:
        expected = 2 * np.tanh(expected / 2)
    if "vocab_padding" in changes:
        expected[..., -3:] = -1e30
    np.testing.assert_allclose(logits(config, head, x), expected, rtol=1e-5, atol=1e-5)


@CASES
def test_logits_are_of_float32_whatever_the_decoder_computes_in(cpu: bool):
    config = toys.replace(toys.SMALL, dtype="bfloat16", on_cpu=cpu)
    x, head = drawn(False, True)
    found = logits(config, head, x.astype(jnp.bfloat16))
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, logits(config, head, x), rtol=0.05, atol=0.1)


@CASES
@pytest.mark.parametrize("tied", [False, True])
def test_near_logits_are_not_rounded_together(cpu: bool, tied: bool):
    config = toys.replace(toys.SMALL, dtype="bfloat16", on_cpu=cpu, tied=tied)
    x, head = drawn(tied, bias=False)
    x, head = (8 * x).astype(jnp.bfloat16), Head(head.matrix.astype(jnp.bfloat16), None)
    wide, matrix = np.asarray(x, np.float32), np.asarray(head.matrix, np.float32)
    found = logits(config, head, x)
    np.testing.assert_allclose(found, wide @ (matrix.T if tied else matrix), rtol=1e-5, atol=1e-4)
    assert (found != found.astype(jnp.bfloat16).astype(jnp.float32)).mean() > 0.9


@CASES
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_gradients_are_those_of_the_product(cpu: bool, tied: bool, dtype: Any):
    config = toys.replace(toys.SMALL, on_cpu=cpu, tied=tied)
    x, head = drawn(tied, bias=False)
    towards = jax.random.normal(jax.random.key(3), (2, 5, config.vocab))

    def value(x: jax.Array, matrix: jax.Array) -> jax.Array:
        return jnp.sum(logits(config, Head(matrix, None), x) * towards)

    of_x, of_matrix = jax.grad(value, (0, 1))(x.astype(dtype), head.matrix)
    assert (of_x.dtype, of_matrix.dtype) == (dtype, jnp.float32)
    matrix, sums = np.asarray(head.matrix.T if tied else head.matrix), np.asarray(towards)
    rtol, atol = (1e-5, 1e-5) if dtype == jnp.float32 else (0.03, 0.2)
    np.testing.assert_allclose(of_x.astype(jnp.float32), sums @ matrix.T, rtol=rtol, atol=atol)
    expected = np.einsum("bte,btv->ev", np.asarray(x), sums)
    np.testing.assert_allclose(of_matrix.T if tied else of_matrix, expected, rtol=rtol, atol=atol)
