"""The loss in chunks against the same formula on all logits at once, by jax's own derivative."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import toys
from star_jax.models import loss as loss_lib
from star_jax.models.config import ModelConfig
from star_jax.models.transformer import Head
from toys import ONE_LAYER

ROWS, LENGTH, VOCAB = 3, 11, 29
UNTIED = dataclasses.replace(ONE_LAYER, tied=False, vocab=VOCAB, width=8)
CONFIGS = {
    "untied, a bias": UNTIED,
    "tied": dataclasses.replace(UNTIED, tied=True),
    "capped, with padding": dataclasses.replace(UNTIED, logit_cap=2.0, vocab_padding=5),
    "on a CPU": toys.replace(UNTIED, on_cpu=True),
}


def work(config: ModelConfig) -> tuple[Any, ...]:
    keys = jax.random.split(jax.random.key(3), 5)
    shape = (VOCAB, config.width) if config.tied else (config.width, VOCAB)
    bias = None if config.tied else jax.random.normal(keys[1], (VOCAB,))
    x = 2 * jax.random.normal(keys[2], (ROWS, LENGTH, config.width))
    targets = jax.random.randint(keys[3], (ROWS, LENGTH), 0, VOCAB - config.vocab_padding)
    weights = jax.random.uniform(keys[4], (ROWS, LENGTH)) * (targets % 3 > 0)
    return Head(jax.random.normal(keys[0], shape), bias), x, targets, weights


def expected(config: ModelConfig, head: Head, x: Any, targets: Any, weights: Any) -> Any:
    logits = jnp.einsum("bte,ve->btv" if config.tied else "bte,ev->btv", x, head.matrix)
    logits = logits if head.bias is None else logits + head.bias
    if config.logit_cap:
        logits = config.logit_cap * jnp.tanh(logits / config.logit_cap)
    logits = logits[..., : VOCAB - config.vocab_padding]
    loss = -jnp.take_along_axis(jax.nn.log_softmax(logits), targets[..., None], -1)[..., 0]
    right = logits.argmax(-1) == targets
    return 3.0 * (loss * weights).sum(), (right * weights).sum()


@pytest.mark.parametrize("chunk", [4, 11, 64])
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_chunks_are_the_whole_with_its_gradient(config: ModelConfig, chunk: int, monkeypatch):
    monkeypatch.setattr(loss_lib, "CHUNK", chunk)
    head, x, targets, weights = work(config)

    def in_chunks(head: Head, x: jax.Array) -> Any:
        sums: Any = loss_lib.cross_entropy(config, head, x, targets, weights)
        return 3.0 * sums[0], sums[1]

    whole = functools.partial(expected, config, targets=targets, weights=weights)
    found, by_jax = (
        jax.value_and_grad(f, argnums=(0, 1), has_aux=True)(head, x) for f in (in_chunks, whole)
    )
    compare = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    jax.tree.map(compare, found, by_jax)
    jax.tree.map(compare, in_chunks(head, x), whole(head, x))


@pytest.mark.parametrize("weighted", [0, 8])
def test_on_a_cpu_tokens_without_weight_are_not_multiplied(weighted: int, monkeypatch):
    """They are no numbers here, and so would be whatever they were multiplied for."""
    monkeypatch.setattr(loss_lib, "CHUNK", 4)
    config = CONFIGS["on a CPU"]
    head, x, targets, _ = work(config)
    chosen = np.zeros(ROWS * LENGTH, bool)
    chosen[np.random.default_rng(0).permutation(ROWS * LENGTH)[:weighted]] = True
    weights = jnp.asarray(chosen.reshape(ROWS, LENGTH), jnp.float32)

    def loss(head: Head, x: jax.Array) -> jax.Array:
        sums: Any = loss_lib.cross_entropy(config, head, x, targets, weights)
        return sums[0]

    bare = jnp.where(weights[..., None] > 0, x, jnp.nan)
    found, (of_head, of_x) = jax.value_and_grad(loss, (0, 1))(head, bare)
    expected, (whole_head, whole_x) = jax.value_and_grad(loss, (0, 1))(head, x)
    jax.tree.map(
        np.testing.assert_array_equal, (found, of_head, of_x), (expected, whole_head, whole_x)
    )
    assert (np.abs(of_x).sum(-1) > 0).sum() == weighted


@pytest.mark.parametrize("chunk", [4, 11, 64])
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_log_probabilities_are_those_of_the_whole(config: ModelConfig, chunk: int, monkeypatch):
    monkeypatch.setattr(loss_lib, "CHUNK", chunk)
    head, x, targets, weights = work(config)
    x = jnp.where(weights[..., None] > 0, x, jnp.nan)  # what has no weight must not matter
    found = loss_lib.token_log_probs(config, head, x, targets, weights)
    assert found.shape == targets.shape and found.dtype == jnp.float32
    np.testing.assert_array_equal(found[weights == 0], 0)
    for row, column in np.argwhere(np.asarray(weights) > 0):
        here = (slice(row, row + 1), slice(column, column + 1))
        one = expected(config, head, x[here], targets[here], jnp.ones((1, 1)))[0]
        assert -3.0 * float(found[row, column]) == pytest.approx(float(one), rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_without_weight_there_is_no_log_probability(config: ModelConfig):
    head, x, targets, weights = work(config)
    found = loss_lib.token_log_probs(config, head, x, targets, jnp.zeros_like(weights))
    np.testing.assert_array_equal(found, 0)
