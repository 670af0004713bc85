import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import reference
from star_jax.training import state
from star_jax.training import step as step_lib
from star_jax.training.optimizer import constant, cosine, make_optimizer, steps_of_round
from tests.training.step_test import close


class TestOptimizer:
    @pytest.mark.parametrize("clip", [1e9, 1.0])
    @pytest.mark.parametrize("weight_decay", [0.0, 0.1])
    def test_is_adam_with_clipping_and_warm_up(self, clip: float, weight_decay: float):
        draws = np.random.default_rng(0)
        start = draws.normal(size=7)
        gradients = [draws.normal(size=7) * scale for scale in (0.1, 3.0, 0.5, 2.0, 0.01, 1.0)]
        optimizer = make_optimizer(clip=clip, weight_decay=weight_decay, b1=0.8, b2=0.95)
        schedule = constant(0.1, 3)

        def tree(x: np.ndarray) -> dict[str, jax.Array]:  # clipping is by the norm of all of it
            return {
                "a": jnp.asarray(x[:4].reshape(2, 2), jnp.float32),
                "b": jnp.asarray(x[4:], jnp.float32),
            }

        learner = state.init_state(tree(start), optimizer)
        for step, gradient in enumerate(gradients):
            learner = jax.jit(functools.partial(step_lib.apply_gradients, optimizer))(
                learner, tree(gradient), schedule(step)
            )
        expected = reference.adam(
            start,
            gradients,
            lambda n: 0.1 * min(1, n / 3),
            clip=clip,
            b1=0.8,
            b2=0.95,
            weight_decay=weight_decay,
        )
        close(learner.params, tree(expected))
        assert learner.step == len(gradients)

    @pytest.mark.parametrize(("step", "rate"), [(0, 0), (50, 5e-7), (100, 1e-6), (7912, 1e-6)])
    def test_constant_is_the_papers_schedule(self, step: int, rate: float):
        assert constant(1e-6, 100)(step) == pytest.approx(rate)

    @pytest.mark.parametrize(
        ("step", "rate"),
        [(0, 0), (5, 0.5), (10, 1), (60, (1 + 0.05) / 2), (110, 0.05), (500, 0.05)],
    )
    def test_cosine_ends_at_a_twentieth(self, step: int, rate: float):
        assert cosine(1.0, 10, 110)(step) == pytest.approx(rate, abs=1e-6)

    def test_cosine_may_end_within_its_warm_up(self):
        assert cosine(1.0, 10, 5)(5) == pytest.approx(0.5)

    @pytest.mark.parametrize("warmup", [0, 7])
    def test_schedules_are_those_of_optax(self, warmup: int):
        kept = optax.warmup_constant_schedule(0.0, 3e-4, warmup)
        falling = optax.warmup_cosine_decay_schedule(0.0, 3e-4, warmup, 50, 3e-4 / 20)
        for step in range(60):
            if warmup:  # without a warm-up optax begins at its first value, 0
                assert constant(3e-4, warmup)(step) == pytest.approx(np.asarray(kept(step)))
            assert cosine(3e-4, warmup, 50)(step) == pytest.approx(np.asarray(falling(step)))


@pytest.mark.parametrize(
    ("round_", "steps"),
    [
        (1, 40),
        (2, 48),
        (3, 57),
        (4, 69),
        (5, 82),
        (6, 99),
        (16, 616),
        (29, 6593),
        (30, 7912),
        (31, 8000),
        (99, 8000),
    ],
)
def test_steps_grow_by_a_fifth_to_the_cap(round_: int, steps: int):
    assert steps_of_round(round_, 40, 1.2, 8000) == steps
