import jax
import numpy as np
import pytest
from flax import nnx

import reference
import toys
from star_jax.models import abstract_params
from star_jax.models.params import init_params
from star_jax.models.transformer import Decoder
from toys import SMALL

INIT = jax.jit(lambda seed: init_params(SMALL, jax.random.key(seed)))


def test_graph_and_params_are_a_decoder_again():
    params = toys.params(SMALL)
    model = nnx.merge(abstract_params.graph(SMALL), params)
    assert isinstance(model, Decoder) and model.config == SMALL
    again = nnx.split(model)[1]
    assert jax.tree.structure(again) == jax.tree.structure(params)
    assert all(map(np.array_equal, jax.tree.leaves(again), jax.tree.leaves(params)))


def test_weights_follow_from_the_key():
    first, same, other = (reference.weights(INIT(seed)) for seed in (0, 0, 1))
    assert all((first[name] == same[name]).all() for name in first)
    drawn = {name for name in first if (first[name] != other[name]).any()}
    assert drawn == {name for name in first if "bias" not in name and "scale" not in name}


@pytest.mark.parametrize(
    ("name", "variance"),
    [
        ("embedding", 1),
        ("head", 1 / 16),
        ("blocks.0.attention.q", 1 / 16),
        ("blocks.1.mlp.up", 1 / 16),
        ("blocks.0.attention.out", 1 / 16 / 4),  # four branches add to the residual stream
        ("blocks.1.mlp.down", 1 / 24 / 4),
    ],
)
def test_weights_start_with_the_variance_that_keeps_the_stream_at_one(name: str, variance: float):
    assert reference.weights(INIT(0))[name].var() == pytest.approx(variance, rel=0.3)
