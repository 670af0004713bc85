"""What is no number is told of, where completions and updates are heard of."""

import math

import pytest

from star_jax.config.validation import SettingsError
from star_jax.inference.sampling import BROKEN
from star_jax.star import finite


@pytest.mark.parametrize(
    ("tokens", "at"), [([], 0), ([5, 0, 2], 0), ([BROKEN, 0], 1), ([5, 7, BROKEN], 3)]
)
def test_a_completion_without_logits(tokens: list[int], at: int):
    if not at:
        return finite.check_written(tokens, "float32")
    with pytest.raises(SettingsError, match=f"infinite at token {at} of .*dtype = 'bfloat16'"):
        finite.check_written(tokens, "bfloat16")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["loss", "gradient_norm"])
def test_an_update_that_diverged(name: str, value: float):
    metrics = {"loss": 0.5, "gradient_norm": 3.0, "tokens": 9}
    given = ("round 2, step 4 of 9", "config.train.learning_rate", "runs/a/checkpoints/x")
    finite.check_metrics(metrics, *given)
    says = f"round 2, step 4 of 9: training has diverged, {name} not .* lower config.train.learning"
    with pytest.raises(SettingsError, match=says):
        finite.check_metrics(metrics | {name: value}, *given)
