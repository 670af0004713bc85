"""The programs of sampling, as they are compiled."""

import re

import jax
import numpy as np
import pytest

import toys
from star_jax.inference.scheduler import Bucket
from star_jax.runtime import sharding


@pytest.mark.parametrize("axes", [(1, 1, 1), (2, 2, 2)])
@pytest.mark.parametrize("rows", [8, 32, 64])
def test_no_shard_needs_what_another_has_to_go_on_in_fewer_slots(
    axes: tuple[int, int, int], rows: int
):
    count = int(np.prod(axes))
    if len(jax.devices()) < count:
        pytest.skip("needs eight devices")
    grid = sharding.make_mesh(*axes, devices=jax.devices()[:count])
    programs = toys.programs(grid, shapes=[Bucket(80, 60, rows)], prefix=16, learning=None)
    shrinks = [name for name in programs.sampling.programs() if name[0] == "shrink"]
    assert bool(shrinks) == (rows > (8 if count == 1 else 32))
    for name in shrinks:
        text = programs.lower(name).compile().as_text()
        assert "gather(" in text and not re.search(r"all-|collective|reduce-scatter", text)
