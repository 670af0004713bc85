import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import reference
import toys
from star_jax.model import cache as kv
from star_jax.state import Params
from toys import SMALL

PARAMS = toys.params(SMALL)
WEIGHTS = reference.weights(PARAMS)
PLACES = 7
DOCUMENTS = [document.tokens.tolist() for document in toys.documents([12, 15, 10], SMALL.vocab)]
PROMPTS = [5, 7, 1]  # of each document, tokens that are prefilled
PREFIX = toys.documents([6], SMALL.vocab, seed=9)[0].tokens.tolist()


@jax.jit
def make_prefix(params: Params, tokens: jax.Array, length: jax.Array) -> kv.Prefix:
    return kv.make_prefix(nnx.merge(toys.graph(SMALL), params), tokens, length)


@jax.jit
def prefill(params: Params, tokens: jax.Array, start: jax.Array, prefix: kv.Prefix | None):
    return kv.prefill(nnx.merge(toys.graph(SMALL), params), tokens, start, prefix)


@jax.jit
def step(params: Params, token: jax.Array, cache: kv.Cache, prefix: kv.Prefix | None):
    return kv.step(nnx.merge(toys.graph(SMALL), params), token, cache, prefix)


GROW = jax.jit(kv.grow, static_argnums=1)


def padded(padding: int) -> tuple[jax.Array, jax.Array]:
    tokens = np.full((len(DOCUMENTS), PLACES), padding, np.int32)
    for row, (document, size) in enumerate(zip(DOCUMENTS, PROMPTS, strict=True)):
        tokens[row, PLACES - size :] = document[:size]
    return jnp.asarray(tokens), jnp.asarray([PLACES - size for size in PROMPTS], jnp.int32)


def read(prefix: kv.Prefix | None, sizes: Sequence[int], padding: int = 0) -> list[np.ndarray]:
    """The documents token by token; `sizes` are the lengths of the cache, one after another."""
    found, cache = prefill(PARAMS, *padded(padding), prefix)
    found = [found]
    cache = GROW(cache, sizes[0])
    sizes = sizes[1:]
    for n in range(min(len(d) - p for d, p in zip(DOCUMENTS, PROMPTS, strict=True))):
        if cache.filled == cache.keys[0].shape[2]:
            cache, sizes = GROW(cache, sizes[0]), sizes[1:]
        token = [document[p + n] for document, p in zip(DOCUMENTS, PROMPTS, strict=True)]
        logits, cache = step(PARAMS, jnp.asarray(token, jnp.int32), cache, prefix)
        found.append(logits)
    return [np.asarray(x) for x in found]


def expect(found: list[np.ndarray], before: list[int]) -> None:
    """Each row's logits at each step are those of a forward pass over all of its tokens."""
    for row, (document, size) in enumerate(zip(DOCUMENTS, PROMPTS, strict=True)):
        whole = reference.logits(SMALL, WEIGHTS, before + document)[len(before) + size - 1 :]
        for n, logits in enumerate(found):
            np.testing.assert_allclose(logits[row], whole[n], rtol=1e-4, atol=1e-4)


@functools.cache
def shared(length: int, places: int) -> kv.Prefix:
    tokens = np.full(places, 5, np.int32)
    tokens[:length] = PREFIX[:length]
    return make_prefix(PARAMS, jnp.asarray(tokens), jnp.int32(length))


def test_a_cache_gives_the_logits_of_a_full_forward_pass():
    expect(read(None, [PLACES + 12]), [])


def test_a_cache_that_grows_gives_the_same():
    expect(read(None, [PLACES, PLACES + 2, PLACES + 8]), [])


@pytest.mark.parametrize("length", [6, 4, 1])
def test_a_prefix_is_the_same_tokens_before_every_prompt(length: int):
    expect(read(shared(length, 8), [PLACES + 12]), PREFIX[:length])


def test_an_empty_prefix_is_none():
    expect(read(shared(0, 8), [PLACES + 12]), [])


def test_left_padding_is_never_seen():
    one, other = (read(None, [PLACES + 12], padding) for padding in (0, 17))
    for x, y in zip(one, other, strict=True):
        assert (x == y).all()


def test_grow_keeps_what_is_filled():
    _, cache = prefill(PARAMS, *padded(0), None)
    grown = GROW(cache, PLACES + 5)
    assert (grown.filled, grown.start.tolist()) == (PLACES, [2, 0, 6])
    for small, large in zip(cache.keys + cache.values, grown.keys + grown.values, strict=True):
        assert large.shape == (3, SMALL.heads, PLACES + 5, SMALL.head_dim)
        assert (large[:, :, :PLACES] == small).all() and not large[:, :, PLACES:].any()


def test_a_prefix_has_no_batch_axis():
    prefix = shared(6, 8)
    assert {x.shape for x in prefix.keys + prefix.values} == {(SMALL.heads, 8, SMALL.head_dim)}
    assert prefix.length == 6
