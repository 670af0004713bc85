import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from star_jax.sampler import engine
from star_jax.sampler.engine import Chunk, Completion, Row, Shape

SMALL, LONG, LARGE = Shape(8, 4, 3), Shape(8, 10, 2), Shape(20, 10, 2)
SHAPES = [LARGE, SMALL, LONG]
SIZES = st.lists(st.tuples(st.integers(0, 10), st.integers(1, 20)), max_size=40)


def rows(sizes: list[tuple[int, int]]) -> list[Row]:
    return [Row(number, [7] * length, budget) for number, (length, budget) in enumerate(sizes)]


@settings(deadline=None)
@given(SIZES, st.permutations(SHAPES))
def test_every_row_is_in_one_chunk_that_holds_it(sizes: list[tuple[int, int]], shapes: list[Shape]):
    chunks = engine.plan(rows(sizes), shapes)
    numbers = [row.number for chunk in chunks for row in chunk.rows]
    assert sorted(numbers) == list(range(len(sizes)))
    for chunk in chunks:
        assert 0 < len(chunk.rows) <= chunk.shape.rows
        for row in chunk.rows:
            assert chunk.shape == min(shape for shape in SHAPES if shape.holds(row))
    for shape in SHAPES:
        own = [chunk for chunk in chunks if chunk.shape == shape]
        assert all(len(chunk.rows) == shape.rows for chunk in own[:-1])
        lengths = [len(row.tokens) for chunk in own for row in chunk.rows]
        assert lengths == sorted(lengths)


@settings(deadline=None)
@given(SIZES, st.randoms())
def test_the_plan_does_not_depend_on_the_order_of_the_rows(sizes: list[tuple[int, int]], random):
    ordered = rows(sizes)
    shuffled = random.sample(ordered, len(ordered))
    assert engine.plan(shuffled, SHAPES) == engine.plan(ordered, SHAPES)


def test_the_last_incomplete_chunk_is_kept():
    chunks = engine.plan(rows([(4, 8)] * 7), SHAPES)
    assert [len(chunk.rows) for chunk in chunks] == [3, 3, 1]


@pytest.mark.parametrize("size", [(11, 1), (1, 21)])
def test_a_row_that_fits_nowhere_is_named(size: tuple[int, int]):
    says = rf"row 1 has a prompt of {size[0]} tokens and a budget of {size[1]}.*Shape\(budget=20"
    with pytest.raises(ValueError, match=says):
        engine.plan(rows([(4, 8), size]), SHAPES)


def test_complete_pads_on_the_left_and_leaves_the_rest_empty():
    seen = []

    def decode(shape: Shape, *arrays: NDArray) -> tuple[NDArray, NDArray, NDArray]:
        seen.append((shape, *(array.tolist() for array in arrays)))
        assert [array.dtype for array in arrays] == [np.int32] * 3
        return np.arange(24).reshape(3, 8), np.array([2, 8, 5]), np.array([True, False, True])

    chunk = Chunk(SMALL, (Row(5, [1, 2], 8), Row(3, [1, 2, 3, 4], 8)))
    found = engine.complete(chunk, decode)
    assert seen == [(SMALL, [[0, 0, 1, 2], [1, 2, 3, 4], [0, 0, 0, 0]], [2, 0, 4], [5, 3, 0])]
    assert [dataclasses.astuple(completion) for completion in found] == [
        (5, [0, 1], False),
        (3, [8, 9, 10, 11, 12, 13, 14, 15], True),
    ]
    assert all(type(completion.truncated) is bool for completion in found)


def test_completions_are_told_by_their_rows_number():
    def echo(shape: Shape, tokens: NDArray, start: NDArray, number: NDArray):
        return np.repeat(number[:, None], shape.budget, 1), np.ones_like(number), start == 0

    chunks = engine.plan(rows([(n % 5, 8) for n in range(11)]), SHAPES)
    found = [one for chunk in chunks for one in engine.complete(chunk, echo)]
    assert sorted(found, key=lambda one: one.number) == [
        Completion(n, [n], truncated=n % 5 != 4) for n in range(11)
    ]
