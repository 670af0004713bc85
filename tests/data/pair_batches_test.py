import numpy as np
import pytest

from star_jax.data.packing import Example
from star_jax.data.pair_batches import PairBatch, PairData, PairShape

DRAWS = np.random.default_rng(0)


def text() -> Example:
    size = int(DRAWS.integers(3, 12))
    weights = np.ones(size, np.float32)
    weights[: int(DRAWS.integers(1, size))] = 0
    return Example(DRAWS.integers(3, 99, size).astype(np.int32), weights)


TEXTS = [(text(), text()) for _ in range(10)]
REFERENCE = DRAWS.normal(size=(10, 2)).astype(np.float32)
DATA = PairData(TEXTS, batch_size=4, steps=9, seed=3)


def contents(batch: PairBatch) -> list[tuple[list[int], list[float], float]]:
    """Tokens, weights and reference of every text of a batch, in the order of the texts."""
    found = []
    for part in range(len(batch.sequences)):
        ids = batch.sequences[part]
        for number in range(batch.reference[part].size):
            here = ids == number + 1
            assert len(set(np.nonzero(here)[0])) == 1, "a text is whole, in one row"
            positions = batch.packed.positions[part][here]
            assert positions.tolist() == list(range(here.sum()))
            found.append(
                (
                    batch.packed.tokens[part][here].tolist(),
                    batch.packed.weights[part][here].tolist(),
                    float(batch.reference[part].reshape(-1)[number]),
                )
            )
        assert not batch.packed.weights[part][ids == 0].any()
        assert ((ids == 0) == (batch.packed.segments[part] == 0)).all()
    return found


def of_pair(pair: int) -> list[tuple[list[int], list[float], float]]:
    return [
        (one.tokens.tolist(), one.weights.tolist(), float(reference))
        for one, reference in zip(TEXTS[pair], REFERENCE[pair], strict=True)
    ]


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_both_texts_of_a_pair_are_in_its_micro_batch(parts: int):
    shape = DATA._shape(16, 2, parts)
    assert shape.pairs * parts == 4 and shape.rows % 2 == 0
    batches = list(DATA.batches(shape, REFERENCE))
    seen = []
    for batch in batches:
        assert batch.packed.tokens.shape == batch.sequences.shape == (parts, shape.rows, 16)
        assert batch.reference.shape == (parts, shape.pairs, 2)
        found = contents(batch)
        for at in range(0, len(found), 2):
            [pair] = [n for n in range(10) if of_pair(n) == found[at : at + 2]]
            seen.append(pair)
    assert len(seen) == 36
    for epoch in range(3):
        assert sorted(seen[10 * epoch : 10 * epoch + 10]) == list(range(10))
    assert len({tuple(seen[10 * n : 10 * n + 10]) for n in range(3)}) == 3, "in another order"


def test_batches_from_a_later_step_on_are_the_same():
    shape = DATA.shape(16, 1, 0)
    every, rest = (list(DATA.batches(shape, REFERENCE, start)) for start in (0, 5))
    assert [contents(batch) for batch in every[5:]] == [contents(batch) for batch in rest]


def test_the_shape_is_that_of_the_largest_batch_and_cut_where_it_has_too_many_rows():
    whole = DATA.shape(16, 1, 0)
    assert (whole.pairs, whole.parts) == (4, 1)
    used = [int((batch.sequences[0] > 0).any(1).sum()) for batch in DATA.batches(whole, REFERENCE)]
    assert max(used) == whole.rows and min(used) >= 1
    half = DATA.shape(16, 1, whole.rows - 1)
    assert half.parts == 2 and half.rows < whole.rows
    assert DATA.shape(16, 8, 1) == PairShape(pairs=1, parts=4, rows=8, length=16)
