"""star_jax/training/spec.py."""

import pytest

import toys
from star_jax.training.spec import UpdateSpec, padded_rows


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
    learning = UpdateSpec(toys.optimizer(), batch_size, 24, micro_batch)
    assert learning.accumulation(shards) == parts


@pytest.mark.parametrize("shards", [1, 3, 8])
@pytest.mark.parametrize("micro_batch", [0, 1, 4, 7])
def test_no_fewer_rows_fill_as_many_micro_batches(micro_batch: int, shards: int):
    """Against a search: the fewest rows that take no more micro-batches than any have to."""

    def parts(rows: int) -> int:
        return UpdateSpec(toys.optimizer(), rows, 24, micro_batch).accumulation(shards)

    for rows in range(1, 60):
        enough = [more for more in range(rows, rows + 80) if more % shards == 0]
        least = min(map(parts, enough))
        assert padded_rows(rows, shards, micro_batch) == next(
            n for n in enough if parts(n) == least
        )
