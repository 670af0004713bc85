import jax.numpy as jnp
import numpy as np
import pytest

from star_jax.inference.ranks import block, highest, kth_highest


@pytest.mark.parametrize(
    ("vocab", "size"),
    [(1, 0), (97, 97), (59, 0), (50257, 0), (64, 64), (151936, 64), (50400, 315), (49152, 384)],
)
def test_the_highest_is_that_of_argmax(vocab: int, size: int):
    """In a few values there are many equal ones."""
    assert block(vocab) == size
    draws = np.random.default_rng(vocab)
    for logits in (draws.normal(size=(5, vocab)), draws.integers(-3, 3, (5, vocab))):
        logits = np.array(logits, np.float32)
        logits[1, ::2] = -np.inf
        logits[2] = -np.inf
        np.testing.assert_array_equal(highest(jnp.asarray(logits)), logits.argmax(-1))


@pytest.mark.parametrize("count", [1, 5, 64, 1000])
def test_the_kth_highest_is_that_of_a_sort(count: int):
    draws = np.random.default_rng(count)
    given = [
        draws.normal(size=(6, count)),
        draws.integers(-3, 3, (6, count)),
        draws.choice([-np.inf, -1e30, -1e-45, -0.0, 0.0, 1e-45, 3e38, np.inf], (6, count)),
    ]
    for values in given:
        values = np.array(values, np.float32)
        values[1, ::2] = -np.inf
        for k in {1, 2, 3, count // 2, count - 1, count, count + 7} - {-1, 0}:
            expected = np.sort(values, axis=1)[:, -min(k, count)]
            np.testing.assert_array_equal(kth_highest(jnp.asarray(values), k)[:, 0], expected)
