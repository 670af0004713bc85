"""Slots on devices: rows that come and go are what full forward passes give."""

import jax
import numpy as np
import pytest

import reference
import toys
from star_jax.inference import buckets
from star_jax.inference.buckets import Bucket
from star_jax.inference.scheduler import Request, plan, run
from star_jax.inference.slot_batch import DeviceSlots
from star_jax.runtime import sharding
from toys import BYTES

BUDGET, PLACES = 80, 60
BEFORE = [5, 9, 100, 3, 20]
SIZES = [60, 3, 17, 25, 1, 33, 9, 16, 15, 4, 2, 8, 51, 60, 11, 5, 6, 7, 20, 21, 1, 1]
ROWS = [
    Request(number, document.tokens.tolist(), BUDGET)
    for number, document in enumerate(toys.documents(SIZES, 259))
]


# Many rows for few slots, or few for so many that the last of them go on in fewer; in a ring of two
# blocks, or of three that turns more often.
@pytest.fixture(
    params=[((1, 1, 1), 8, 64), ((1, 1, 1), 8, 16), ((2, 2, 2), 8, 64), ((1, 1, 1), 32, 64)]
    + [((2, 2, 2), 64, 64)],
    ids=str,
)
def programs(request, monkeypatch) -> toys.Programs:
    axes, rows, places = request.param
    monkeypatch.setattr(buckets, "_BLOCK", places)
    count = int(np.prod(axes))
    if len(jax.devices()) < count:
        pytest.skip("needs eight devices")
    grid = sharding.make_mesh(*axes, devices=jax.devices()[:count])
    made = toys.programs(grid, buckets=[Bucket(BUDGET, PLACES, rows)], prefix=16, spec=None)
    made.compiler.finish()
    return made


def test_rows_that_come_and_go_write_what_full_forward_passes_give(programs: toys.Programs):
    weights = toys.params(BYTES)
    bias = weights["head_bias"]
    bias[...] = bias[...].at[toys.END].add(3.5)  # some end early, some never
    params = jax.device_put(weights, jax.tree.map(lambda x: x.sharding, programs.params))
    sampling, [bucket] = programs.sampling, programs.sampling.spec.buckets
    policy = sampling.policy(sampling.lay_out(params), BEFORE)
    (chunk,) = plan(ROWS, [bucket], refills=3)
    slots = DeviceSlots(sampling, policy, (1, 2, 3), bucket)
    found, usage = run(chunk, slots)
    plain = reference.weights(weights)
    for one in found:
        prompt = BEFORE + list(ROWS[one.number].tokens)
        expected = reference.greedy(BYTES, plain, prompt, BUDGET, toys.END, 259)
        assert (one.tokens, one.truncated) == (expected, expected[-1] != toys.END)
    lengths = sorted(len(one.tokens) for one in found)
    assert lengths[0] < 20 and lengths[-1] == BUDGET
    assert buckets.page_ring(BUDGET) in (buckets.PageRing(64, 2), buckets.PageRing(32, 3))
    written = sum(lengths)
    assert usage.busy == written - len(ROWS)  # first tokens are written before any step
    assert written / usage.steps > (0.3 if bucket.rows <= 32 else 0.2)  # of 64, 22 have rows
    assert slots.count == min(bucket.rows, 8 * sampling.shards)
