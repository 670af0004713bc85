import jax
import pytest

from star_jax.inference import abstract
from star_jax.inference.prefill_packing import PrefillBudget
from star_jax.runtime import sharding
from toys import eight_devices

BUDGET = PrefillBudget(4, 48, 3)


@eight_devices
@pytest.mark.parametrize("axes", [(4, 1, 2), (2, 2, 2)], ids=str)
def test_each_shard_has_its_groups(axes: tuple[int, int, int]):
    mesh = sharding.make_mesh(*axes, devices=jax.devices()[:8])
    batch, rows = abstract.prefill_batch(mesh, BUDGET), abstract.new_rows(mesh, BUDGET)
    assert batch.tokens.sharding.shard_shape(batch.tokens.shape) == (1, 48)
    assert batch.end.sharding.shard_shape(batch.end.shape) == (1, 3)
    assert rows.seat.sharding.shard_shape(rows.seat.shape) == (1, 3)
    assert rows.seed.sharding.is_fully_replicated
