from hypothesis import given
from hypothesis import strategies as st

from star_jax.inference import buckets
from star_jax.inference.buckets import Bucket


@given(st.integers(1, 4000))
def test_a_ring_has_room_for_the_budget_in_few_blocks(budget: int):
    ring = buckets.page_ring(budget)
    assert ring.pages <= 4 and (ring.page_length % 64 == 0 or ring.page_length == budget)
    assert ring.page_length * (ring.pages - 1) < budget <= ring.tokens
    assert ring.page_length < 64 + budget / 4 or ring.pages == 1


def test_a_ring_of_the_usual_budgets():
    assert buckets.page_ring(20) == buckets.PageRing(20, 1)
    assert buckets.page_ring(128) == buckets.PageRing(64, 2)
    assert buckets.page_ring(192) == buckets.PageRing(64, 3)
    assert buckets.page_ring(1000) == buckets.PageRing(256, 4)


@given(st.integers(1, 300), st.integers(1, 8))
def test_the_last_rows_go_on_in_fewer_slots(each: int, shards: int):
    shape = Bucket(8, 16, each * shards)
    found = [shape, *buckets.fewer(shape, shards)]
    for before, after in zip(found, found[1:], strict=False):
        assert after == Bucket(8, 16, before.rows // 2) and after.rows >= 8 * shards
        assert after.rows % shards == 0
    assert len(found) == 1 + (each % 2 == 0 and each >= 16) + (each % 4 == 0 and each >= 32)


def test_a_shard_keeps_what_goes_on_and_fills_up_with_others():
    assert buckets.slots_to_keep([6, 1, 3], 8, 4, 1) == [1, 3, 6, 0]
    assert buckets.slots_to_keep([6, 1], 8, 4, 2) == [1, 0, 6, 4]
    assert (
        buckets.slots_to_keep([6, 7, 5], 8, 4, 2) is None
    )  # three in the second shard, which keeps two
