import pytest
from hypothesis import given
from hypothesis import strategies as st

from star_jax.inference import prefill_packing
from star_jax.inference.buckets import Bucket
from star_jax.inference.prefill_packing import PrefillBudget
from star_jax.inference.scheduler import Request, Row


def test_room_for_waves_of_newcomers():
    assert prefill_packing.prefill_budget(Bucket(8, 160, 64), 1, 512) == PrefillBudget(1, 320, 8)
    assert prefill_packing.prefill_budget(Bucket(8, 144, 128), 1, 512) == PrefillBudget(1, 288, 8)
    assert prefill_packing.prefill_budget(Bucket(8, 48, 512), 2, 512) == PrefillBudget(2, 192, 16)
    assert prefill_packing.prefill_budget(Bucket(8, 400, 128), 1, 512) == PrefillBudget(1, 512, 8)
    assert prefill_packing.prefill_budget(Bucket(8, 400, 128), 1, 2048) == PrefillBudget(1, 800, 8)
    assert prefill_packing.prefill_budget(Bucket(8, 100, 2), 1, 512) == PrefillBudget(
        1, 112, 2
    )  # the longest prompt fits
    assert prefill_packing.prefill_budget(Bucket(8, 1, 8), 8, 512) == PrefillBudget(8, 16, 1)


def test_the_first_prompt_is_read_and_with_it_what_fills_the_room():
    room = PrefillBudget(2, 10, 3)
    # The second group gets 6, the longest; then 4 into each; and nobody has room for 5 any more.
    assert room.assign([3, 4, 5, 6, 4]) == [(0, 0), (3, 1), (2, 0), (1, 1)]
    assert room.assign([10, 1, 1, 1, 1]) == [(0, 0), (1, 1), (2, 1), (3, 1)]  # no seat is left
    assert room.assign([1, 9, 9, 9]) == [(0, 0), (1, 1), (2, 0)]
    assert room.assign([]) == [] and room.assign([11]) == []


@given(st.lists(st.integers(1, 60), max_size=40), st.integers(1, 4), st.integers(1, 100))
def test_a_prompt_has_room_and_is_read_once(lengths: list[int], shards: int, each: int):
    room = prefill_packing.prefill_budget(Bucket(8, 60, each * shards), shards, 512)
    shared = room.assign(lengths)
    chosen = [one for one, _ in shared]
    assert chosen[:1] == [0][: len(lengths)] and len(set(chosen)) == len(chosen)
    for group in range(room.groups):
        own = [lengths[one] for one, other in shared if other == group]
        assert sum(own) <= room.tokens and len(own) <= room.rows
    # When they are packed they are shared out again, in that order: to the same groups.
    again = room.assign([lengths[one] for one in chosen])
    assert again == [(place, group) for place, (_, group) in enumerate(shared)]


GIVEN = [Request(5, [7, 8, 9], 4, 3), Request(3, [4], 4, 2), Request(1, [6, 6], 4)]
ROOM = PrefillBudget(2, 5, 2)


def test_prompts_are_packed_one_after_the_other():
    packed, found = prefill_packing.pack(GIVEN, Bucket(4, 3, 4), ROOM)
    tokens, segments, positions, end, start = (
        packed[name].tolist() for name in ("tokens", "segments", "positions", "end", "start")
    )
    assert tokens == [[7, 8, 9, 0, 0], [4, 6, 6, 0, 0]]
    assert segments == [[1, 1, 1, 0, 0], [1, 2, 2, 0, 0]]
    assert positions == [[0, 1, 2, 0, 0], [0, 0, 1, 0, 0]]
    assert end == [[3, 0], [1, 3]] and start == [[0, 3], [2, 1]]
    assert found == [(0, 0), (1, 0), (1, 1)]


@pytest.mark.parametrize(
    ("slots", "seat", "slot", "number", "count"),
    [
        ([2, 0, 3], [[0, 0], [0, 1]], [[2, 4], [0, 3]], [[5, 0], [3, 1]], 3),
        ([1], [[0, 0], [0, 0]], [[1, 4], [4, 4]], [[5, 0], [0, 0]], 1),
        # The second group has no room for a third row, whatever is free.
        ([3, 2, 1, 0, 5], [[0, 0], [0, 1]], [[3, 0], [2, 1]], [[5, 5 + 2**20], [3, 1]], 4),
    ],
)
def test_rows_are_seated_by_the_group_of_their_prompt(
    slots: list[int], seat: list, slot: list, number: list, count: int
):
    found = [(0, 0), (1, 0), (1, 1)]
    rows = [Row(GIVEN[n], s) for n, s in [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (0, 2)]]
    places = [found[GIVEN.index(row.request)] for row in rows]
    arrays, taken = prefill_packing.seat(rows, places, slots, Bucket(4, 3, 4), ROOM)
    assert {name: x.tolist() for name, x in arrays.items()} == {
        "seat": seat, "slot": slot, "number": number
    }  # fmt: skip
    assert taken == count


@pytest.mark.parametrize(
    ("rows", "shards", "wave"), [(64, 1, 4), (256, 1, 8), (512, 2, 16), (2, 1, 1)]
)
def test_a_wave_is_what_the_batch_is_sized_for(rows: int, shards: int, wave: int):
    assert prefill_packing.prefill_budget(Bucket(8, 48, rows), shards, 512).wave == wave
