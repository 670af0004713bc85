"""Slots on devices: rows that come and go are what full forward passes give."""

import jax
import numpy as np
import pytest

import reference
import toys
from star_jax import mesh
from star_jax.programs import Programs
from star_jax.sampler import decode
from star_jax.sampler.engine import Row, Shape, complete, plan
from star_jax.sampling import prompt_sizes
from toys import BYTES

SHAPE = Shape(budget=80, prompt=60, rows=8)
BEFORE = [5, 9, 100, 3, 20]
SIZES = [60, 3, 17, 25, 1, 33, 9, 16, 15, 4, 2, 8, 51, 60, 11, 5, 6, 7, 20, 21, 1, 1]
ROWS = [
    Row(number, document.tokens.tolist(), SHAPE.budget)
    for number, document in enumerate(toys.documents(SIZES, 259))
]


@pytest.fixture(scope="module", params=[(1, 1, 1), (2, 2, 2)], ids=str)
def programs(request) -> Programs:
    count = int(np.prod(request.param))
    if len(jax.devices()) < count:
        pytest.skip("needs eight devices")
    grid = mesh.make_mesh(*request.param, devices=jax.devices()[:count])
    made = toys.programs(grid, shapes=[SHAPE], prefix=16, learning=None)
    made.compile()
    return made


def test_rows_that_come_and_go_write_what_full_forward_passes_give(programs: Programs):
    weights = toys.params(BYTES)
    bias = weights["head_bias"]
    bias[...] = bias[...].at[toys.END].add(3.5)  # some end early, some never
    params = jax.device_put(weights, jax.tree.map(lambda x: x.sharding, programs.params))
    sampling = programs.sampling
    policy = sampling.policy(sampling.lay_out(params), BEFORE)
    (chunk,) = plan(ROWS, [SHAPE], refills=3)
    found = complete(chunk, sampling.open(policy, (1, 2, 3), SHAPE))
    plain = reference.weights(weights)
    for one in found:
        prompt = BEFORE + list(ROWS[one.number].tokens)
        expected = reference.greedy(BYTES, plain, prompt, SHAPE.budget, toys.END, 259)
        assert (one.tokens, one.truncated) == (expected, expected[-1] != toys.END)
    lengths = sorted(len(one.tokens) for one in found)
    assert lengths[0] < 20 and decode.windows(SHAPE.budget) == [64, lengths[-1]]
    written = sum(lengths)
    assert sampling.busy == written - len(ROWS)  # first tokens are written before any step
    assert written / sampling.slot_steps > 0.3


def test_prompts_are_read_in_a_few_sizes():
    assert prompt_sizes(Shape(8, 256, 4)) == [48, 96, 144, 192, 216, 256]
    assert prompt_sizes(Shape(8, 144, 4)) == [24, 48, 72, 96, 120, 144]
    assert prompt_sizes(SHAPE) == [24, 48, 60]
    assert prompt_sizes(Shape(8, 16, 4)) == [16]
