"""star_jax/learning.py."""

import pytest

import toys
from star_jax.learning import Learning


@pytest.mark.parametrize(
    ("batch_size", "micro_batch", "shards", "parts"),
    [
        (8, 0, 1, 1),  # no limit
        (8, 8, 1, 1),
        (8, 3, 1, 4),  # 3 does not divide 8: 2 at a time
        (8, 1, 1, 8),
        (12, 5, 1, 3),
        (16, 1, 8, 2),
        (16, 2, 8, 1),
    ],
)
def test_micro_batches_are_as_large_as_allowed(
    batch_size: int, micro_batch: int, shards: int, parts: int
):
    learning = Learning(toys.optimizer(), batch_size, 24, micro_batch)
    assert learning.accumulation(shards) == parts
