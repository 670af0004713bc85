"""Rows of prompts that are read once: each gets its prompt's logits, keys and values."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import toys
from star_jax.models import kv_cache, prompt_pool
from toys import SMALL

PLACES = 7
SIZES = [[5, 1], [7, 0]]  # tokens of the prompts of each group; 0: there is no such prompt
PROMPTS = [document.tokens.tolist() for document in toys.documents([5, 1, 7], SMALL.vocab)]
TOKENS = [[*PROMPTS[0], *PROMPTS[1], 0, 0], [*PROMPTS[2], 0]]
SEGMENTS = [[1] * 5 + [2, 0, 0], [1] * 7 + [0]]
POSITIONS = [[*range(5), 0, 0, 0], [*range(7), 0]]
ENDS, STARTS = [[5, 6], [7, 0]], [[2, 6], [0, PLACES]]
SEATS = [[1, 0, 1], [0, 0, 1]]  # rows of each group; the last has no prompt
EXPECTED = [1, 0, 1, 2, 2]  # prompts of the other rows


@pytest.fixture(scope="module", params=[False, True], ids=["stacked", "unstacked"])
def found(request) -> tuple[jax.Array, kv_cache.PromptCache]:
    @jax.jit
    def run(params, *arrays):
        model = nnx.merge(toys.graph(SMALL), params)
        model = model.unstacked() if request.param else model
        pool = prompt_pool.read(model, *arrays, PLACES, None)
        return prompt_pool.pick(pool, jnp.asarray(SEATS), PLACES)

    arrays = (TOKENS, SEGMENTS, POSITIONS, ENDS, STARTS)
    return run(toys.params(SMALL), *(jnp.asarray(x, jnp.int32) for x in arrays))


@functools.cache
def expected() -> tuple[jax.Array, kv_cache.PromptCache]:
    tokens = np.zeros((3, PLACES), np.int32)
    for row, prompt in enumerate(PROMPTS):
        tokens[row, PLACES - len(prompt) :] = prompt
    start = jnp.asarray([PLACES - len(prompt) for prompt in PROMPTS])
    model = nnx.merge(toys.graph(SMALL), toys.params(SMALL))
    return jax.jit(lambda: kv_cache.prefill(model, jnp.asarray(tokens), start, None))()


def test_rows_have_the_logits_after_their_prompts(found: tuple[jax.Array, kv_cache.PromptCache]):
    np.testing.assert_allclose(found[0][:5], expected()[0][jnp.asarray(EXPECTED)], atol=1e-4)
    assert (found[0][0] == found[0][2]).all() and (found[0][3] == found[0][4]).all()


def test_rows_have_the_keys_and_values_of_their_prompts(
    found: tuple[jax.Array, kv_cache.PromptCache],
):
    mine, theirs = found[1], expected()[1]
    assert mine.start.tolist() == [6, 2, 6, 0, 0, PLACES] and mine.positions == PLACES
    for x, y, axis in ((mine.keys, theirs.keys, -1), (mine.values, theirs.values, -2)):
        x, y = (
            np.moveaxis(np.asarray(jnp.stack(z) if isinstance(z, tuple) else z), axis, -1)
            for z in (x, y)
        )
        for row, prompt in enumerate(EXPECTED):
            first = PLACES - len(PROMPTS[prompt])
            np.testing.assert_allclose(x[:, row, ..., first:], y[:, prompt, ..., first:], atol=1e-5)
