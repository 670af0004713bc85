import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import reference
import toys
from star_jax.models import rope
from star_jax.models.config import ModelConfig, RopeScaling
from toys import SMALL


def rotate(
    x: jax.Array, positions: jax.Array, config: ModelConfig, local: bool = False
) -> jax.Array:
    return rope.rotate(x, rope.sin_cos(positions, config, local), config)


@pytest.mark.parametrize("base", [10_000.0, 100.0])
def test_rotate_turns_pairs_by_their_position(base: float):
    config = dataclasses.replace(SMALL, rotary=6, rotary_base=base)
    x = np.random.default_rng(0).normal(size=(2, 2, 5, 8)).astype(np.float32)
    positions = np.array([[0, 1, 2, 3, 4], [7, 0, 0, 120, 3]], np.int32)
    found = np.asarray(rotate(jnp.asarray(x), jnp.asarray(positions), config))
    for row, head in np.ndindex(2, 2):
        expected = reference.rotate(x[row, head], positions[row].tolist(), 6, base)
        np.testing.assert_allclose(found[row, head], expected, atol=2e-5)
    assert (found[..., 6:] == x[..., 6:]).all()  # partial: the rest of a head stays


def test_rotation_shows_in_scores_only_by_distance():
    draws = np.random.default_rng(1)
    q, k = (jnp.asarray(draws.normal(size=(1, 1, 1, 8)), jnp.float32) for _ in "qk")

    def score(query: int, key: int) -> float:
        turned = [rotate(x, jnp.array([[at]]), SMALL) for x, at in ((q, query), (k, key))]
        return float((turned[0] * turned[1]).sum())

    assert score(9, 4) == pytest.approx(score(105, 100), abs=1e-4)
    assert score(9, 4) != pytest.approx(score(9, 5), abs=1e-3)


def turned(changes: dict, local: bool = False) -> np.ndarray:
    """Radians by which each pair of a head of 8 is turned at position 1000."""
    config = dataclasses.replace(SMALL, rotary=8, rotary_pairs="halves", **changes)
    x = jnp.asarray([1.0] * 4 + [0.0] * 4)[None, None, None]
    x = np.asarray(rotate(x, jnp.array([[1000]]), config, local), np.float64)[0, 0, 0]
    return np.arctan2(x[4:], x[:4])


def test_halves_turn_the_same_pairs_in_another_order():
    x = np.random.default_rng(3).normal(size=(2, 2, 5, 8)).astype(np.float32)
    positions = jnp.arange(10).reshape(2, 5)
    order = [0, 2, 4, 6, 1, 3, 5, 7]
    adjacent, halves = (
        np.asarray(rotate(jnp.asarray(y), positions, dataclasses.replace(SMALL, rotary=8, **kind)))
        for y, kind in ((x, {}), (x[..., order], {"rotary_pairs": "halves"}))
    )
    np.testing.assert_allclose(halves, adjacent[..., order], atol=1e-6)


def test_linear_scaling_counts_positions_slower():
    stretched = turned({"rope_scaling": RopeScaling("linear", 4.0), "rotary_base": 1e5})
    frequencies = 1e5 ** (-np.arange(4) / 4)
    np.testing.assert_allclose(np.cos(stretched), np.cos(250 * frequencies), atol=1e-4)


def test_llama3_keeps_fast_pairs_and_stretches_slow_ones():
    scaling = RopeScaling("llama3", factor=8.0, low=1.0, high=4.0, original=512)
    frequencies = 1e5 ** (-np.arange(4) / 4)  # 81, 4.6, 0.26, 0.014 turns in 512 tokens
    found = turned({"rope_scaling": scaling, "rotary_base": 1e5})
    kept = np.array([1.0, 1.0, 0.0, 0.0])
    angles = 1000 * frequencies * (kept + (1 - kept) / 8)
    np.testing.assert_allclose(np.cos(found), np.cos(angles), atol=1e-4)
    between = RopeScaling("llama3", factor=8.0, low=1.0, high=8.0, original=512)
    turns = 512 * frequencies[1] / (2 * np.pi)
    share = (turns - 1) / 7
    found = turned({"rope_scaling": between, "rotary_base": 1e5})[1]
    angle = 1000 * frequencies[1] * (share + (1 - share) / 8)
    np.testing.assert_allclose(np.cos(found), np.cos(angle), atol=1e-4)


def test_a_windowed_layer_may_have_a_base_of_its_own_that_is_not_scaled():
    scaled = {"rope_scaling": RopeScaling("linear", 2.0)}
    own = turned(scaled | {"rotary_local_base": 100.0}, local=True)
    np.testing.assert_allclose(own, turned({"rotary_base": 100.0}), atol=1e-5)
    shared = turned(scaled, local=True)
    np.testing.assert_allclose(shared, turned(scaled), atol=1e-6)


def test_without_rotation_nothing_turns():
    x = jax.random.normal(jax.random.key(0), (1, 2, 3, 8))
    assert rotate(x, jnp.arange(3)[None], dataclasses.replace(SMALL, rotary=0)) is x


@pytest.mark.parametrize("rotary_base", [10_000.0, 5e5])
def test_turns_that_are_computed_once_are_the_same_to_the_bit(rotary_base: float):
    config = dataclasses.replace(SMALL, rotary=8, rotary_base=rotary_base)
    positions = jnp.asarray([[0, 1, 2, 500, 4_000], [7, 100_000, 3, 1, 0]], jnp.int32)
    found, expected = (
        rope.sin_cos(positions, toys.replace(config, on_cpu=cpu)) for cpu in (True, False)
    )
    assert found is not None and expected is not None
    for one, other in zip(found, expected, strict=True):
        assert one.shape == (2, 1, 5, 4) and (one == other).all()
