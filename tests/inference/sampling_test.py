from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reference
from star_jax.inference.sampling import SamplingParams, is_broken, restrict, sample_tokens

VOCAB = 8
DRAWS = 20_000
KEYS = jax.random.split(jax.random.key(0), DRAWS)
LOGITS = np.array([2.0, 0.5, 1.0, -1.0, 0.0, 1.5, -np.inf, 0.2], np.float32)

# Few distinct values, so that ties are common; -inf is what padding of the vocabulary becomes.
ROWS = st.lists(
    st.sampled_from([-np.inf, -3.0, -1.0, -0.5, 0.0, 0.25, 1.0, 2.0, 4.0]),
    min_size=VOCAB,
    max_size=VOCAB,
).filter(lambda row: max(row) > -np.inf)


# Odd values, which no sum of these probabilities comes near: float32 and float64 agree.
TOP_P = [0.0513, 0.3107, 0.4969, 0.7723, 0.9017, 0.9991, 1.0]


def frequencies(selection: SamplingParams) -> np.ndarray:
    tokens = sample_tokens(jnp.broadcast_to(LOGITS, (DRAWS, VOCAB)), KEYS, selection)
    assert (tokens.shape, tokens.dtype) == ((DRAWS,), jnp.int32)
    return np.bincount(tokens, minlength=VOCAB) / DRAWS


def expected(selection: SamplingParams) -> np.ndarray:
    logits = LOGITS.astype(np.float64) / selection.temperature
    left = reference.kept(logits.tolist(), selection.top_k, selection.top_p)
    return reference.softmax(np.where([n in left for n in range(VOCAB)], logits, -np.inf))


@settings(deadline=None)
@given(ROWS, st.integers(0, VOCAB), st.sampled_from(TOP_P))
def test_restrict_keeps_exactly_the_set(row: list[float], top_k: int, top_p: float):
    logits = np.array([row, row[::-1]], np.float32)
    found = np.asarray(restrict(jnp.asarray(logits), top_k, top_p))
    for before, after in zip(logits, found, strict=True):
        left = {n for n in reference.kept(before.tolist(), top_k, top_p) if before[n] > -np.inf}
        assert {n for n in range(VOCAB) if after[n] > -np.inf} == left
        assert left and all(after[n] == before[n] for n in left)


@settings(deadline=None)
@given(ROWS)
def test_greedy_is_the_first_of_the_most_likely(row: list[float]):
    keys = KEYS[:1]
    assert sample_tokens(jnp.asarray([row], jnp.float32), keys, SamplingParams()).tolist() == [
        int(np.argmax(row))
    ]


@pytest.mark.parametrize(
    "selection",
    [
        SamplingParams(1.0),
        SamplingParams(0.5),
        SamplingParams(2.0),
        SamplingParams(1.0, top_k=3),
        SamplingParams(0.7, top_p=0.9),
        SamplingParams(1.5, top_k=5, top_p=0.8),
    ],
    ids=str,
)
def test_draws_have_the_probabilities_of_the_formula(selection: SamplingParams):
    found, wanted = frequencies(selection), expected(selection)
    assert not found[wanted == 0].any()
    spread = np.sqrt(wanted * (1 - wanted) / DRAWS)
    assert (np.abs(found - wanted) <= 4 * spread).all()


@pytest.mark.parametrize(
    "selection", [SamplingParams(1.0, top_k=1), SamplingParams(3.0, top_p=0.01)], ids=str
)
def test_where_one_token_is_left_it_is_the_most_likely(selection: SamplingParams):
    assert frequencies(selection).tolist() == [1, 0, 0, 0, 0, 0, 0, 0]


def test_top_k_of_more_than_the_vocabulary_keeps_all():
    assert (np.asarray(restrict(jnp.asarray([LOGITS]), VOCAB + 5, 1.0)) == LOGITS).all()


def test_a_draw_follows_from_its_own_key():
    logits = jnp.broadcast_to(LOGITS, (64, VOCAB))
    tokens = sample_tokens(logits, KEYS[:64], SamplingParams(1.0))
    order = np.random.default_rng(0).permutation(64)
    assert (sample_tokens(logits, KEYS[order], SamplingParams(1.0)) == tokens[order]).all()


@pytest.mark.parametrize("selection", [{}, {"top_p": 0.9}, {"top_k": 3, "top_p": 0.5}], ids=str)
@pytest.mark.parametrize("temperature", [1e-6, 1e-38, 5e-324])
def test_the_smallest_temperatures_are_greedy(temperature: float, selection: dict[str, Any]):
    logits = jnp.asarray([LOGITS, LOGITS[::-1] * 1e4, LOGITS - 1e30, [0.0] * 7 + [1e-3]])
    found = sample_tokens(logits, KEYS[: len(logits)], SamplingParams(temperature, **selection))
    assert found.tolist() == np.argmax(logits, axis=1).tolist()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_rare_tokens_are_drawn(dtype: str):
    """jax.random.categorical makes its noise in the logits' type: in bfloat16 half of these are."""
    share = 1e-4
    row = np.log([1 - 63 * share, *[share] * 63]).astype(dtype)
    given, logits = np.exp(row.astype(np.float64)), jnp.broadcast_to(row, (DRAWS, 64))
    expected = DRAWS * (1 - given[0] / given.sum())
    found = int((sample_tokens(logits, KEYS, SamplingParams(1.0)) > 0).sum())
    assert abs(found - expected) < 4 * np.sqrt(expected)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("vocab", [8, 64, 640])
@pytest.mark.parametrize(
    "selection",
    [
        SamplingParams(),
        SamplingParams(0.7),
        SamplingParams(1.0, top_k=3),
        SamplingParams(1.0, top_p=0.9),
    ],
    ids=str,
)
def test_a_row_whose_logits_are_no_numbers_is_told(
    value: float, vocab: int, selection: SamplingParams
):
    draws = np.random.default_rng(0)
    logits = draws.normal(size=(40, vocab)).astype(np.float32)
    logits[:, -3:] = -np.inf  # the padding of a vocabulary
    logits[np.arange(20), draws.integers(0, vocab - 3, 20)] = value
    if np.isnan(value):
        logits[:20, :-3] = value  # where one hidden state is NaN, all are
    logits[39, :] = -np.inf
    token = sample_tokens(jnp.asarray(logits), KEYS[:40], selection)
    told = is_broken(jnp.asarray(logits), token)
    assert told.tolist() == [True] * 20 + [False] * 19 + [True]
