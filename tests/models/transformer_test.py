import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import reference
import toys
from star_jax.data import packing
from star_jax.data.packing import Packed
from star_jax.models.attention import attend_segments
from star_jax.models.config import ModelConfig
from star_jax.models.params import Params
from toys import SMALL

PARAMS = toys.params(SMALL)
DOCUMENTS = toys.documents([9, 5, 4, 12, 1], SMALL.vocab)
PACKED = packing.pack(DOCUMENTS, 16)


@functools.partial(jax.jit, static_argnums=0)
def run(config: ModelConfig, params: Params, tokens: Any, positions: Any, segments: Any) -> Any:
    model = nnx.merge(toys.graph(config), params)
    return model.logits(model.hidden(tokens, positions, attend_segments(segments))[0])


def forward(config: ModelConfig, packed: Packed) -> np.ndarray:
    return np.asarray(run(config, PARAMS, packed.tokens, packed.positions, packed.segments))


@pytest.mark.parametrize("rotary", [8, 4, 2])
def test_packed_documents_agree_with_the_formula_of_gpt_j(rotary: int):
    config = dataclasses.replace(SMALL, rotary=rotary)
    found = forward(config, PACKED)
    weights = reference.weights(PARAMS)
    seen = 0
    for row, segment in np.ndindex(len(PACKED), int(PACKED.segments.max())):
        here = PACKED.segments[row] == segment + 1
        if here.any():
            tokens = PACKED.tokens[row, here].tolist()
            expected = reference.logits(config, weights, tokens)
            np.testing.assert_allclose(found[row, here], expected, rtol=1e-4, atol=1e-4)
            seen += 1
    assert seen == len(DOCUMENTS)


def test_bfloat16_computes_roughly_and_answers_in_float32():
    config = toys.replace(SMALL, dtype="bfloat16")
    rough, fine = (forward(c, PACKED) for c in (config, SMALL))
    assert rough.dtype == jnp.float32
    real = PACKED.segments > 0
    difference = np.abs(rough - fine)[real].mean()
    assert 1e-4 < difference < 0.15


def test_nothing_is_seen_of_other_documents_nor_of_what_comes_later():
    row, here = 0, PACKED.segments[0] == 1
    last = int(here.sum()) - 1
    changed = PACKED.tokens.copy()
    changed[row, last:] = (
        changed[row, last:] + 1
    ) % 32  # last token of document 1, all of the next
    found = forward(SMALL, dataclasses.replace(PACKED, tokens=changed))
    before = forward(SMALL, PACKED)
    assert (found[row, :last] == before[row, :last]).all()
    assert (found[row, last] != before[row, last]).any()
