import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import reference
import toys
from star_jax.models import kv_cache
from star_jax.models.attention import attend_segments
from star_jax.models.config import ModelConfig
from star_jax.models.params import Params
from toys import EVERYTHING, SMALL

PARAMS = {config: toys.params(config) for config in (SMALL, EVERYTHING)}
WEIGHTS = reference.weights(PARAMS[SMALL])
BOTH = pytest.mark.parametrize("config", [SMALL, EVERYTHING], ids=["gpt-j", "everything else"])
PLACES = 7
DOCUMENTS = [document.tokens.tolist() for document in toys.documents([12, 15, 10], SMALL.vocab)]
PROMPTS = [5, 7, 1]  # of each document, tokens that are prefilled
PREFIX = toys.documents([6], SMALL.vocab, seed=9)[0].tokens.tolist()


def on_model(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function of a model, jitted, with its config in place of the model."""

    @functools.partial(jax.jit, static_argnums=0)
    def call(config: ModelConfig, params: Params, *arguments: Any) -> Any:
        return function(nnx.merge(toys.graph(config), params), *arguments)

    return lambda config, *arguments: call(config, PARAMS[config], *arguments)


make_prefix, prefill, step = map(on_model, (kv_cache.make_prefix, kv_cache.prefill, kv_cache.step))
read_packed = on_model(
    lambda model, tokens, segments, positions, end, padding, prefix: kv_cache.prefill_packed(
        model, tokens, segments, positions, end, len(padding), prefix
    )
)
begun = on_model(lambda model, asked, places: kv_cache.init(model, asked, len(places)))
forward = on_model(
    lambda model, tokens: model.logits(
        model.hidden(tokens, jnp.arange(tokens.shape[1])[None], attend_segments(tokens * 0 + 1))[0]
    )
)


def padded(padding: int) -> tuple[jax.Array, jax.Array]:
    tokens = np.full((len(DOCUMENTS), PLACES), padding, np.int32)
    for row, (document, size) in enumerate(zip(DOCUMENTS, PROMPTS, strict=True)):
        tokens[row, PLACES - size :] = document[:size]
    return jnp.asarray(tokens), jnp.asarray([PLACES - size for size in PROMPTS], jnp.int32)


def read(
    config: ModelConfig, prefix: kv_cache.Prefix | None, places: int = 12, padding: int = 0
) -> list[np.ndarray]:
    """The documents token by token; the ring has blocks of so many places."""
    found, asked = prefill(config, *padded(padding), prefix)
    found = [found]
    cache = begun(config, asked, jnp.zeros(places))
    empty = cache.ring[0]
    for n in range(min(len(d) - p for d, p in zip(DOCUMENTS, PROMPTS, strict=True))):
        if n and n % places == 0:
            cache = dataclasses.replace(cache, ring=(empty, *cache.ring))
        token = [document[p + n] for document, p in zip(DOCUMENTS, PROMPTS, strict=True)]
        logits, cache = step(config, jnp.asarray(token, jnp.int32), cache, prefix)
        found.append(logits)
    return [np.asarray(x) for x in found]


def expect(config: ModelConfig, found: list[np.ndarray], before: list[int]) -> None:
    """Each row's logits at each step are those of a forward pass over all of its tokens."""
    for row, (document, size) in enumerate(zip(DOCUMENTS, PROMPTS, strict=True)):
        tokens = before + document
        if config is SMALL:
            whole = reference.logits(SMALL, WEIGHTS, tokens)
        else:  # conversion/families_test.py holds this against transformers
            whole = np.asarray(forward(config, jnp.asarray([tokens], jnp.int32)))[0]
        whole = whole[len(before) + size - 1 :]
        for n, logits in enumerate(found):
            np.testing.assert_allclose(logits[row], whole[n], rtol=1e-4, atol=1e-4)


@functools.cache
def shared(config: ModelConfig, length: int, places: int) -> kv_cache.Prefix:
    tokens = np.full(places, 5, np.int32)
    tokens[:length] = PREFIX[:length]
    return make_prefix(config, jnp.asarray(tokens), jnp.int32(length))


@BOTH
def test_a_cache_gives_the_logits_of_a_full_forward_pass(config: ModelConfig):
    expect(config, read(config, None), [])


@BOTH
@pytest.mark.parametrize("places", [1, 3, 4])
def test_a_ring_of_blocks_gives_the_same(config: ModelConfig, places: int):
    expect(config, read(config, None, places), [])


@BOTH
@pytest.mark.parametrize("length", [6, 4, 1])
def test_a_prefix_is_the_same_tokens_before_every_prompt(config: ModelConfig, length: int):
    expect(config, read(config, shared(config, length, 8)), PREFIX[:length])


@BOTH
@pytest.mark.parametrize("length", [0, 6])
def test_packed_prompts_are_read_as_padded_ones_are(config: ModelConfig, length: int):
    prefix = shared(config, length, 8) if length else None
    tokens, start = padded(0)
    expected, asked = prefill(config, tokens, start, prefix)
    # Two groups of eight tokens and two seats; the last seat is empty.
    [first, second, third] = [d[:size] for d, size in zip(DOCUMENTS, PROMPTS, strict=True)]
    packed = [[*first, *third, 0, 0], [*second, 0]]
    segments = [[1] * 5 + [2, 0, 0], [1] * 7 + [0]]
    places = [[*range(5), 0, 0, 0], [*range(7), 0]]
    ends = [[5, 6], [7, 0]]
    given = [jnp.asarray(x, jnp.int32) for x in (packed, segments, places, ends)]
    logits, found = read_packed(config, *given, jnp.zeros(3), prefix)
    assert found.positions == 3 + 8
    of_keys = (found.keys.swapaxes(-2, -1), asked.keys.swapaxes(-2, -1))
    assert not np.asarray(of_keys[0])[..., :3, :].any()
    for group, seat, row in [(0, 0, 0), (0, 1, 2), (1, 0, 1)]:
        np.testing.assert_allclose(logits[group, seat], expected[row], rtol=1e-4, atol=1e-4)
        last = 3 + ends[group][seat]
        for mine, theirs in (of_keys, (found.values, asked.values)):
            mine = np.asarray(mine)[:, group, :, last - PROMPTS[row] : last]
            theirs = np.asarray(theirs)[:, row, :, int(start[row]) :]
            np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)


@BOTH
def test_an_empty_prefix_is_none(config: ModelConfig):
    expect(config, read(config, shared(config, 0, 8)), [])


@BOTH
def test_left_padding_is_never_seen(config: ModelConfig):
    one, other = (read(config, None, padding=padding) for padding in (0, 17))
    for x, y in zip(one, other, strict=True):
        assert (x == y).all()


@BOTH
def test_a_row_sees_what_it_has_written_wherever_the_ring_stands(config: ModelConfig):
    """A row that begins late in a ring that turns is as one that begins with it."""
    asked = prefill(config, *padded(0), None)[1]
    tokens = np.random.default_rng(0).integers(0, config.vocab, (6, 3)).astype(np.int32)

    def write(cache: kv_cache.Cache, tokens: np.ndarray) -> tuple[kv_cache.Cache, list[np.ndarray]]:
        found = []
        for token in tokens:
            if cache.cursor and cache.cursor % 3 == 0:
                cache = dataclasses.replace(cache, ring=(cache.ring[-1], *cache.ring[:-1]))
            logits, cache = step(config, jnp.asarray(token), cache, None)
            found.append(np.asarray(logits))
        return cache, found

    cache = begun(config, asked, jnp.zeros(3))
    cache = dataclasses.replace(cache, ring=cache.ring * 2)
    _, expected = write(cache, tokens)
    for before in range(1, 8):
        late, _ = write(cache, np.full((before, 3), 7, np.int32))
        _, found = write(dataclasses.replace(late, written=late.written * 0), tokens)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@BOTH
def test_a_prefix_has_no_batch_axis(config: ModelConfig):
    prefix = shared(config, 6, 8)
    expected = (config.layers, config.key_heads, config.head_dim, 8)
    assert {x.shape for x in jax.tree.leaves((prefix.keys, prefix.values))} == {expected}
    assert prefix.length == 6
