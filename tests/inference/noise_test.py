import jax
import jax.numpy as jnp
import numpy as np
import pytest

from star_jax.inference import noise

KEYS = jax.random.split(jax.random.key(3), 7)


def by_jax(keys: jax.Array, vocab: int) -> np.ndarray:
    noises = jax.vmap(lambda key: jax.random.gumbel(key, (vocab,), jnp.float32))(keys)
    return np.asarray(noises)


@pytest.mark.parametrize("vocab", [1, 2, 259, 5000])
def test_all_of_it_is_that_of_jax_to_the_bit(vocab: int):
    found = jax.jit(lambda keys: noise.gumbel(keys, jnp.arange(vocab)[None], vocab))(KEYS)
    np.testing.assert_array_equal(found, by_jax(KEYS, vocab))


def test_some_of_it_is_that_of_their_indices():
    index = np.random.default_rng(0).integers(0, 900, (7, 40))
    found = noise.gumbel(KEYS, jnp.asarray(index), 900)
    np.testing.assert_array_equal(found, np.take_along_axis(by_jax(KEYS, 900), index, 1))


@pytest.mark.parametrize("kind", ["generator", "jax_high_dynamic_range_gumbel"])
def test_where_jax_draws_otherwise_so_does_this(kind: str):
    keys, before = KEYS, None
    if kind == "generator":
        keys = jax.random.split(jax.random.key(3, impl="rbg"), 7)
    else:
        before = getattr(jax.config, kind)
        jax.config.update(kind, True)
    try:
        found = noise.gumbel(keys, jnp.arange(30)[None], 30)
        np.testing.assert_array_equal(found, by_jax(keys, 30))
    finally:
        if before is not None:
            jax.config.update(kind, before)
