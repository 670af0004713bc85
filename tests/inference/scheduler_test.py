import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from star_jax.inference import scheduler
from star_jax.inference.buckets import Bucket
from star_jax.inference.scheduler import Chunk, Request, Row, SlotUsage

SMALL, LONG, LARGE = Bucket(8, 4, 3), Bucket(8, 10, 2), Bucket(20, 10, 2)
SHAPES = [LARGE, SMALL, LONG]
SIZES = st.lists(st.tuples(st.integers(0, 10), st.integers(1, 20)), max_size=40)


def rows(sizes: list[tuple[int, int]]) -> list[Request]:
    return [Request(number, [7] * length, budget) for number, (length, budget) in enumerate(sizes)]


@settings(deadline=None)
@given(SIZES, st.permutations(SHAPES))
def test_every_row_is_in_one_chunk_that_holds_it(
    sizes: list[tuple[int, int]], shapes: list[Bucket]
):
    chunks = scheduler.plan(rows(sizes), shapes)
    numbers = [row.number for chunk in chunks for row in chunk.requests]
    assert sorted(numbers) == list(range(len(sizes)))
    for chunk in chunks:
        assert 0 < len(chunk.requests) <= chunk.bucket.rows
        for row in chunk.requests:
            assert chunk.bucket == min(
                shape for shape in SHAPES if shape.holds(len(row.tokens), row.max_new_tokens)
            )
    for shape in SHAPES:
        own = [chunk for chunk in chunks if chunk.bucket == shape]
        assert all(len(chunk.requests) == shape.rows for chunk in own[:-1])
        lengths = [len(row.tokens) for chunk in own for row in chunk.requests]
        assert lengths == sorted(lengths)


@settings(deadline=None)
@given(SIZES, st.randoms())
def test_the_plan_does_not_depend_on_the_order_of_the_rows(sizes: list[tuple[int, int]], random):
    ordered = rows(sizes)
    shuffled = random.sample(ordered, len(ordered))
    assert scheduler.plan(shuffled, SHAPES) == scheduler.plan(ordered, SHAPES)


def test_the_last_incomplete_chunk_is_kept():
    chunks = scheduler.plan(rows([(4, 8)] * 7), SHAPES)
    assert [len(chunk.requests) for chunk in chunks] == [3, 3, 1]


@pytest.mark.parametrize("size", [(11, 1), (1, 21)])
def test_a_row_that_fits_nowhere_is_named(size: tuple[int, int]):
    says = rf"row 1 has a prompt of {size[0]} tokens and a budget of {size[1]}.*Bucket\(max_new_tokens=20"
    with pytest.raises(ValueError, match=says):
        scheduler.plan(rows([(4, 8), size]), SHAPES)


class Slots:
    """Row n writes n + 1 times its number, a token a step; number 3 never ends by itself.

    Sample s of a request writes s tokens more.
    """

    def __init__(
        self,
        shape: Bucket,
        newcomers: int,
        fewer: tuple[int, ...] = (),
        refusals: int = 0,
        wave: int = 1,
    ) -> None:
        self.wave = wave
        self.newcomers, self.shape, self.count = newcomers, shape, shape.rows
        self.fewer, *self.further = *fewer, 0
        self.order: Sequence[int] = range(shape.rows)
        self.refusals = refusals
        self.tokens = np.zeros((shape.rows, shape.max_new_tokens), np.int32)
        self.length = np.zeros(shape.rows, np.int32)
        self.number = np.full(shape.rows, -1)
        self.sample = np.zeros(shape.rows, int)
        self.asked: list[tuple[list[int], list[int]]] = []
        self.pool: list[Request] = []
        self.read: list[int] = []
        self.steps = 0
        self.usage = SlotUsage()

    def finished(self) -> np.ndarray:
        most = np.where(self.number == 3, 99, self.number + 1 + self.sample)
        return (self.number < 0) | (self.length >= most)

    def choose(self, requests: Sequence[Request]) -> list[int]:
        return [0, *range(len(requests) - 1, 0, -1)][: self.newcomers]

    def prefill(self, requests: Sequence[Request]) -> None:
        assert 0 < len(requests) <= self.newcomers
        self.pool = list(requests)
        self.read += [request.number for request in requests]

    def admit(self, rows: Sequence[Row], slots: Sequence[int]) -> int:
        count = min(len(rows), len(slots), self.newcomers)
        assert count > 0 and all(row.request in self.pool for row in rows)
        self.asked.append(([row.request.number for row in rows[:count]], list(slots[:count])))
        for row, slot in zip(rows[:count], slots[:count], strict=True):
            assert self.finished()[slot] or self.length[slot] >= self.shape.max_new_tokens
            self.number[slot], self.length[slot] = row.request.number, 0
            self.sample[slot] = row.sample
        return count

    def advance(self, wanted: int) -> tuple[NDArray, NDArray, NDArray]:
        while True:
            going = ~self.finished() & (self.length < self.shape.max_new_tokens)
            if np.sum(~going) >= wanted:
                return self.tokens, self.length, self.finished()
            assert going.any()
            self.tokens[going, self.length[going]] = self.number[going]
            self.length += going
            self.steps += 1
            self.usage.add(SlotUsage(self.count, int(going.sum())))

    def shrink(self, slots: Sequence[int]) -> Sequence[int]:
        assert 0 < len(slots) <= self.fewer < self.count
        if self.refusals:
            self.refusals -= 1
            return slots
        others = [place for place in range(self.count) if place not in slots]
        kept = [*slots, *others][: self.fewer][::-1]
        self.tokens, self.length, self.number, self.sample = (
            x[kept] for x in (self.tokens, self.length, self.number, self.sample)
        )
        self.count, (self.fewer, *self.further) = self.fewer, self.further
        return [kept.index(slot) for slot in slots]


def test_complete_leaves_the_rest_empty():
    chunk = Chunk(SMALL, (Request(5, [1, 2], 8), Request(3, [1, 2, 3, 4], 8)))
    slots = Slots(SMALL, 3)
    found, usage = scheduler.run(chunk, slots)
    assert usage == slots.usage
    assert slots.asked == [([5, 3], [0, 1])]
    assert [dataclasses.astuple(completion) for completion in found] == [
        (5, [5] * 6, False, 0, 0),
        (3, [3] * 8, True, 1, 0),
    ]
    assert all(type(completion.truncated) is bool for completion in found)


@pytest.mark.parametrize("newcomers", [1, 2])
def test_a_slot_is_filled_again_while_others_go_on(newcomers: int):
    numbers = [7, 0, 3, 1, 1000, 2, 6, 5, 4, 0, 0, 7]
    rows = tuple(Request(number, [1], 8) for number in numbers)
    heard: list[int] = []
    slots = Slots(SMALL, newcomers)
    found, _ = scheduler.run(Chunk(SMALL, rows), slots, heard.append)
    assert [one.number for one in found] == numbers
    for one in found:
        full = one.number in (3, 1000)
        assert one.tokens == [one.number] * (8 if full else one.number + 1)
        assert one.truncated == full
    assert sum(heard) == len(numbers)
    one_after_the_other = sum(max(len(f.tokens) for f in found[i : i + 3]) for i in range(0, 12, 3))
    assert slots.steps < one_after_the_other
    if newcomers == 1:
        assert slots.usage.busy / slots.steps / 3 > 0.8


@pytest.mark.parametrize("refusals", [0, 2, 100])
@pytest.mark.parametrize("count", [1, 3, 8, 13, 30])
def test_the_last_rows_go_on_in_fewer_slots(count: int, refusals: int):
    shape = Bucket(40, 4, 8)
    given = tuple(Request(number, [1], 40) for number in range(4, 4 + count))
    slots, still = Slots(shape, 2, (4, 2), refusals), Slots(shape, 2)
    found = [scheduler.run(Chunk(shape, given), these)[0] for these in (slots, still)]
    assert [(one.tokens, one.truncated) for one in found[0]] == [
        ([row.number] * (row.number + 1), False) for row in given
    ]
    assert [dataclasses.astuple(one) for one in found[0]] == [
        dataclasses.astuple(one) for one in found[1]
    ]
    assert slots.steps == still.steps
    if refusals == 100:
        assert slots.count == 8
    elif not refusals:
        assert slots.count == 2 and slots.usage.steps < still.usage.steps
        if count == 1:
            assert slots.usage.steps == 2 * slots.steps


def test_completions_are_told_by_their_rows_number():
    chunks = scheduler.plan(rows([(n % 5, 8) for n in range(11)]), SHAPES, refills=2)
    found = [one for chunk in chunks for one in scheduler.run(chunk, Slots(chunk.bucket, 2))[0]]
    assert {one.number: one.tokens for one in found} == {
        n: [n] * (8 if n >= 7 or n == 3 else n + 1) for n in range(11)
    }


def test_chunks_hold_several_rows_a_slot():
    chunks = scheduler.plan(rows([(4, 8)] * 20), SHAPES, refills=3)
    assert [len(chunk.requests) for chunk in chunks] == [9, 9, 2]


@pytest.mark.parametrize("wave", [1, 2, 3])
@pytest.mark.parametrize("newcomers", [1, 2, 3])
@pytest.mark.parametrize("samples", [1, 2, 3, 5, 8])
def test_a_prompt_is_read_once_for_all_of_its_samples(samples: int, newcomers: int, wave: int):
    shape = Bucket(40, 4, 3)  # fewer slots than samples, or a number that samples do not divide
    numbers = [7, 2, 9, 0, 4, 3, 5]
    given = tuple(Request(number, [1], 40, samples) for number in numbers)
    slots = Slots(shape, newcomers, wave=wave)
    found, usage = scheduler.run(Chunk(shape, given), slots)
    assert sorted(slots.read) == sorted(numbers)
    assert [(one.number, one.sample) for one in found] == [
        (number, sample) for number in numbers for sample in range(samples)
    ]
    for one in found:
        count = 40 if one.number == 3 else one.number + 1 + one.sample
        assert one.tokens == [one.number] * count and one.truncated == (one.number == 3)
    assert usage.busy == sum(len(one.tokens) for one in found)


def test_rows_of_read_prompts_do_not_wait_for_as_many_slots_as_they_are():
    shape = Bucket(40, 4, 4)
    given = (Request(30, [1], 40, samples=2), *(Request(n, [1], 40, 5) for n in (8, 9)))
    slots = Slots(shape, 2, wave=1)
    found, usage = scheduler.run(Chunk(shape, given), slots)
    assert len(found) == 12 and usage.busy / usage.steps > 0.8
    # Requests of other numbers of samples: the first samples come first.
    assert slots.asked[0][0] == [30, 9] and slots.asked[1][0] == [30, 9]
    assert {len(rows) for rows, _ in slots.asked[2:-1]} <= {1, 2}


@settings(deadline=None)
@given(st.lists(st.integers(1, 9), max_size=30), st.integers(1, 3))
def test_a_chunk_counts_samples_and_has_all_of_a_request(samples: list[int], refills: int):
    asked = [Request(number, [7], 8, count) for number, count in enumerate(samples)]
    chunks = scheduler.plan(asked, [SMALL], refills)
    assert [row for chunk in chunks for row in chunk.requests] == asked
    most = SMALL.rows * refills
    sizes = [[row.samples for row in chunk.requests] for chunk in chunks]
    assert all(sum(size) <= most or len(size) == 1 for size in sizes)
    for size, following in itertools.pairwise(sizes):
        assert sum(size) + following[0] > most


def test_draw_numbers_are_those_of_requests_and_samples():
    drawn = {scheduler.draw_number(n, s) for n in (0, 1, 2**20 - 1) for s in (0, 1, 2**11 - 1)}
    assert len(drawn) == 9 and max(drawn) == 2**31 - 1
    assert scheduler.draw_number(2**20 + 5, 0) == 2**20 + 5  # one sample: any number
    Request(2**20, [1], 8)
    Request(2**20 - 1, [1], 8, samples=2**11)


@pytest.mark.parametrize(
    ("number", "samples", "says"),
    [
        (2**20, 2, r"row 1048576 has 2 samples.*at most 1048576 rows"),
        (3, 2**11 + 1, r"row 3 has 2049 samples: must be 1 to 2048"),
        (3, 0, r"row 3 has 0 samples: must be 1 to 2048"),
    ],
)
def test_too_many_samples_are_refused(number: int, samples: int, says: str):
    with pytest.raises(ValueError, match=says):
        Request(number, [1], 8, samples)
