"""Draws on a CPU: token for token those of a sort and of jax's noise."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from star_jax.inference import draw_cpu
from star_jax.inference.sampling import restrict

ROWS = 24
KEYS = jax.random.split(jax.random.key(5), ROWS)


@functools.partial(jax.jit, static_argnums=(1, 2))
def drawn(logits: jax.Array, top_k: int, temperature: float) -> jax.Array:
    return draw_cpu.draw(logits, KEYS, top_k=top_k, temperature=temperature)


@functools.partial(jax.jit, static_argnums=(1, 2))
def plainly(logits: jax.Array, top_k: int, temperature: float) -> jax.Array:
    kept = restrict(logits, top_k, 1.0)
    noise = jax.vmap(lambda key: jax.random.gumbel(key, logits.shape[1:], jnp.float32))(KEYS)
    return jnp.argmax(kept + temperature * noise, axis=-1)


@pytest.mark.parametrize(("top_k", "temperature"), [(0, 0.7), (1, 0.7), (3, 30.0), (40, 30.0)])
@pytest.mark.parametrize("vocab", [8, 259, 4096, 6001])
@pytest.mark.parametrize("kind", ["normal", "equal", "padded", "alike in blocks"])
def test_draws_are_those_of_a_sort(kind: str, vocab: int, top_k: int, temperature: float):
    draws = np.random.default_rng(vocab)
    logits = draws.normal(size=(ROWS, vocab)) * 3
    if kind == "equal":
        logits = draws.integers(-2, 3, (ROWS, vocab))
    elif kind == "padded":
        logits[:, vocab // 2 :] = -np.inf
    elif kind == "alike in blocks":  # equal at the edge of top-k, in more blocks than k
        logits[3:7, ::64] = 20.0
        logits[9, :: vocab // 7] = 20.0
    given = jnp.asarray(logits, jnp.float32)
    found = drawn(given, top_k, temperature)
    assert found.dtype == jnp.int32
    np.testing.assert_array_equal(found, plainly(given, top_k, temperature))
    if top_k == 3:
        assert len(set(np.asarray(found).tolist())) > 3
