from hypothesis import given
from hypothesis import strategies as st

from star_jax.sampler import sizes
from star_jax.sampler.engine import Shape


@given(st.integers(1, 4000))
def test_windows_grow_to_the_budget(budget: int):
    found = sizes.windows(budget)
    assert found[-1] == budget and found[0] == min(sizes.FIRST_WINDOW, budget)
    assert found == sorted(set(found))
    assert all(
        after <= sizes.WINDOW_GROWTH * before
        for before, after in zip(found, found[1:], strict=False)
    )


def test_prompts_are_read_in_a_few_sizes():
    assert sizes.prompts(Shape(8, 256, 4)) == [48, 96, 144, 192, 216, 256]
    assert sizes.prompts(Shape(8, 144, 4)) == [24, 48, 72, 96, 120, 144]
    assert sizes.prompts(Shape(80, 60, 8)) == [24, 48, 60]
    assert sizes.prompts(Shape(8, 16, 4)) == [16]


def test_newcomers_come_in_waves():
    assert [sizes.newcomers(Shape(8, 8, rows), 1) for rows in (2, 8, 64, 128)] == [2, 4, 4, 8]
    assert [sizes.newcomers(Shape(8, 8, rows), 8) for rows in (8, 64, 1024)] == [8, 32, 64]


@given(st.integers(1, 300), st.integers(1, 8))
def test_the_last_rows_go_on_in_fewer_slots(each: int, shards: int):
    shape = Shape(8, 16, each * shards)
    found = [shape, *sizes.fewer(shape, shards)]
    for before, after in zip(found, found[1:], strict=False):
        assert after == Shape(8, 16, before.rows // 2) and after.rows >= 8 * shards
        assert after.rows % shards == 0
    assert len(found) == 1 + (each % 2 == 0 and each >= 16) + (each % 4 == 0 and each >= 32)
