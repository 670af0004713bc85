import pytest

from star_jax.inference.sampling import SamplingParams
from star_jax.inference.spec import SamplingSpec
from star_jax.inference.stop_rule import make_stop_rule

STOP = make_stop_rule((1,), "", [b"a", b""], 2)


@pytest.mark.parametrize(
    ("prefix_length", "bare", "with_prefix"),
    [(0, False, (False,)), (0, True, (False,)), (16, False, (True,)), (16, True, (False, True))],
)
def test_rows_follow_the_few_shot_prompt_where_there_is_one(prefix_length, bare, with_prefix):
    spec = SamplingSpec((), STOP, SamplingParams(), prefix_length, bare)
    assert spec.with_prefix == with_prefix


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_tokens_are_drawn_where_there_is_a_temperature(temperature: float):
    assert SamplingSpec((), STOP, SamplingParams(temperature)).draws == (temperature > 0)
