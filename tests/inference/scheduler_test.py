import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from star_jax.inference import scheduler
from star_jax.inference.buckets import Bucket
from star_jax.inference.scheduler import Chunk, Request, SlotUsage

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
    """Row n writes n + 1 times its number, a token a step; number 3 never ends by itself."""

    def __init__(
        self, shape: Bucket, newcomers: int, fewer: tuple[int, ...] = (), refusals: int = 0
    ) -> None:
        self.newcomers, self.shape, self.count = newcomers, shape, shape.rows
        self.fewer, *self.further = *fewer, 0
        self.order: Sequence[int] = range(shape.rows)
        self.refusals = refusals
        self.tokens = np.zeros((shape.rows, shape.max_new_tokens), np.int32)
        self.length = np.zeros(shape.rows, np.int32)
        self.number = np.full(shape.rows, -1)
        self.asked: list[tuple[list[int], list[int]]] = []
        self.steps = 0
        self.usage = SlotUsage()

    def finished(self) -> np.ndarray:
        most = np.where(self.number == 3, 99, self.number + 1)
        return (self.number < 0) | (self.length >= most)

    def choose(self, requests: Sequence[Request]) -> list[int]:
        return [0, *range(len(requests) - 1, 0, -1)][: self.newcomers]

    def admit(self, requests: Sequence[Request], slots: Sequence[int]) -> None:
        assert 0 < len(requests) <= self.newcomers
        self.asked.append(([request.number for request in requests], list(slots)))
        for request, slot in zip(requests, slots, strict=True):
            assert self.finished()[slot] or self.length[slot] >= self.shape.max_new_tokens
            self.number[slot], self.length[slot] = request.number, 0

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
        self.tokens, self.length, self.number = (
            x[kept] for x in (self.tokens, self.length, self.number)
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
        (5, [5] * 6, False, 0),
        (3, [3] * 8, True, 1),
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
