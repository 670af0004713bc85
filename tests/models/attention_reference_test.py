"""Against torch in float64, of the formula with all keys in one row and its gradients by torch."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from star_jax.models.attention_reference import KeySource, attention

ROWS, HEADS, KEYS, LENGTH, SIZE = 2, 6, 3, 5, 8
SCALE = 0.25


def drawn(seed: int, *shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


Q = drawn(0, ROWS, HEADS, LENGTH, SIZE)
OWN = tuple(drawn(seed, ROWS, KEYS, LENGTH, SIZE) for seed in (1, 2))
OLD = tuple(drawn(seed, ROWS, KEYS, 7, SIZE) for seed in (3, 4))
SHARED = tuple(drawn(seed, KEYS, SIZE, 4) for seed in (5, 6))
CAUSAL = jnp.tril(jnp.ones((LENGTH, LENGTH), bool))
SOME = jnp.arange(7) >= jnp.array([[2], [4]])
FILLED = jnp.array([True, True, True, False])  # of a kind that `attention` treats by itself
WINDOW = jnp.arange(4) > jnp.array([-1, -1, 0, 1, 2])[:, None]

# What is attended to: own keys, kept ones, shared ones with each kind of mask, and together.
CASES: dict[str, Any] = {
    "own": lambda own, old, shared: [KeySource(own[0], own[1], CAUSAL)],
    "kept": lambda own, old, shared: [
        KeySource(old[0].swapaxes(2, 3), old[1], SOME[:, None, None], cached=True)
    ],
    "shared": lambda own, old, shared: [KeySource(shared[0], shared[1], FILLED)],
    "own, shared": lambda own, old, shared: [
        KeySource(own[0], own[1], CAUSAL),
        KeySource(shared[0], shared[1], (WINDOW & FILLED)[None, None]),
    ],
    "all": lambda own, old, shared: [
        KeySource(old[0].swapaxes(2, 3), old[1], SOME[:, None, None], cached=True),
        KeySource(own[0], own[1], CAUSAL),
        KeySource(shared[0], shared[1], FILLED),
    ],
}


def true(case: str, cap: float, q: Any, own: Any, old: Any, shared: Any) -> Any:
    """All keys of a row beside each other, each query's heads apart."""
    import torch

    parts = {
        "own": (*own, CAUSAL[None].repeat(ROWS, 0)),
        "old": (*old, SOME[:, None].repeat(LENGTH, 1)),
        "shared": (*(x.swapaxes(1, 2)[None].expand(ROWS, -1, -1, -1) for x in shared), None),
    }
    filled = FILLED[None].repeat(LENGTH, 0)
    parts["shared"] = (*parts["shared"][:2], (filled & WINDOW if "," in case else filled)[None])
    names = {"kept": ["old"], "all": ["old", "own", "shared"]}.get(case, case.split(", "))
    k, v = (torch.cat([parts[name][i] for name in names], 2) for i in (0, 1))
    k, v = (x.repeat_interleave(HEADS // KEYS, 1) for x in (k, v))
    masks = [np.broadcast_to(parts[n][2], (ROWS, *parts[n][2].shape[1:])) for n in names]
    mask = torch.tensor(np.concatenate(masks, -1))[:, None]
    scores = q @ k.transpose(2, 3) * SCALE
    scores = cap * torch.tanh(scores / cap) if cap else scores
    return torch.softmax(scores.masked_fill(~mask, -torch.inf), -1) @ v


@pytest.mark.torch
@pytest.mark.parametrize("cap", [0.0, 1.5])
@pytest.mark.parametrize("case", CASES)
def test_attention_and_its_gradients_are_those_of_the_formula(case: str, cap: float):
    import torch

    given = (Q, OWN, OLD, SHARED)
    weights = drawn(7, *Q.shape)

    @jax.jit
    def ours(q: Any, own: Any, old: Any, shared: Any) -> Any:
        out = attention(q, CASES[case](own, old, shared), scale=SCALE, cap=cap)
        return (out * weights).sum(), out

    (_, out), found = jax.value_and_grad(ours, (0, 1, 2, 3), has_aux=True)(*given)
    tensors = jax.tree.map(
        lambda x: torch.tensor(np.asarray(x, np.float64), requires_grad=True), given
    )
    expected = true(case, cap, *tensors)
    (expected * torch.tensor(np.asarray(weights, np.float64))).sum().backward()
    np.testing.assert_allclose(out, expected.detach(), rtol=1e-5, atol=1e-6)
    used = 0
    for mine, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(tensors), strict=True):
        gradient = np.zeros(theirs.shape) if theirs.grad is None else theirs.grad.numpy()
        np.testing.assert_allclose(mine, gradient, rtol=1e-4, atol=2e-6)
        used += gradient.any()
    assert used == {"all": 7, "own, shared": 5}.get(case, 3)


def test_a_gradient_keeps_nothing_of_queries_times_keys():
    """Nor does it multiply weights and values again: of 7 products, 2 are of the formula itself."""
    wide = functools.partial(attention, scale=SCALE, cap=0.0)

    def loss(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        named = jax.checkpoint_policies.save_only_these_names("attention")
        again = jax.checkpoint(lambda q, k, v: wide(q, [KeySource(k, v, CAUSAL)]), policy=named)
        return jnp.sin(again(q, k, v)).sum()

    kept = jax.eval_shape(lambda *x: jax.vjp(loss, *x)[1], Q, *OWN)
    assert all(x.shape[-2:] != (2 * LENGTH, LENGTH) for x in jax.tree.leaves(kept))
    text = jax.jit(jax.grad(loss, (0, 1, 2))).lower(Q, *OWN).as_text()
    assert text.count("stablehlo.dot_general") == 7


@pytest.mark.parametrize("length", [0, 1, 4, 8])
def test_a_shared_source_counts_as_far_as_it_is_filled(length: int):
    """Also where its first key, which the rest repeats, fits the queries far better than theirs."""
    own = KeySource(OWN[0], OWN[1], CAUSAL)
    keys, values = (drawn(seed, KEYS, SIZE, 8) for seed in (3, 4))
    keys = jnp.concatenate([1e3 * Q[0, ::2, 0, :, None], keys[..., 1:]], axis=-1)
    padded = jnp.where(jnp.arange(8) < length, keys, keys[..., :1])
    run = functools.partial(attention, scale=SCALE, cap=0.0)
    found = run(Q, [own, KeySource(padded, values, jnp.arange(8) < length)])
    cut = KeySource(keys[..., :length], values[..., :length], jnp.ones(length, bool))
    expected = run(Q, [own, *([cut] if length else [])])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("length", [3, 128])
def test_in_bfloat16_gradients_are_near_those_in_float32(length: int):
    """And run at all: XLA on a CPU refuses some products that are transposed afterwards."""
    q, k, v = (drawn(seed, ROWS, heads, length, 64) for seed, heads in enumerate((HEADS, 3, 3)))
    mask = jnp.tril(jnp.ones((length, length), bool))

    @jax.jit
    def loss(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        flat = attention(q, [KeySource(k, v, mask)], scale=SCALE, cap=0.0).swapaxes(1, 2)
        return jnp.sin(flat.reshape(-1, HEADS * 64).astype(jnp.float32)).sum()

    run = jax.jit(jax.grad(loss, (0, 1, 2)))
    narrow = [x.astype(jnp.bfloat16) for x in (q, k, v)]
    for mine, exact in zip(run(*narrow), run(*(x.astype("float32") for x in narrow)), strict=True):
        assert mine.dtype == jnp.bfloat16
        apart = np.linalg.norm(np.asarray(mine - exact, np.float32)) / np.linalg.norm(exact)
        assert apart < 0.02


@pytest.mark.parametrize(("first", "read"), [(0, 500), (117, 384), (300, 256), (380, 128)])
def test_most_of_what_no_query_sees_is_not_multiplied(first: int, read: int):
    """A value that is no number would make every sum one that it is multiplied for."""
    q = drawn(0, ROWS, HEADS, LENGTH, SIZE)
    k, v = (drawn(seed, ROWS, KEYS, 500, SIZE) for seed in (1, 2))
    mask = jnp.broadcast_to(jnp.arange(500) >= first, (LENGTH, 500))

    @jax.jit
    def ours(q: jax.Array, k: jax.Array, v: jax.Array, first: jax.Array | None) -> Any:
        def loss(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
            source = KeySource(k, v, mask, first=first)
            return jnp.sin(attention(q, [source], scale=SCALE, cap=0.0)).sum()

        return jax.value_and_grad(loss, (0, 1, 2))(q, k, v)

    expected = ours(q, k, v, None)
    unread = v.at[:, :, : 500 - read].set(jnp.nan)
    found = ours(q, k, unread, jnp.int32(first))
    for mine, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)
    if read < 500:
        one_more = v.at[:, :, 500 - read].set(jnp.nan)
        assert not np.isfinite(ours(q, k, one_more, jnp.int32(first))[0])
