from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from star_jax.data import packing
from star_jax.data.packing import Example, Packed
from star_jax.data.tokenizer import ByteTokenizer

TOKENIZER = ByteTokenizer()
LENGTH = 16


def example(tokens: list[int], weights: list[float] | None = None) -> Example:
    return Example(
        np.array(tokens, np.int32),
        np.array([1.0] * len(tokens) if weights is None else weights, np.float32),
    )


@st.composite
def an_example(draw: st.DrawFn) -> Example:
    tokens = draw(st.lists(st.integers(1, 258), min_size=1, max_size=LENGTH))
    weights = st.lists(st.sampled_from([0.0, 1.0]), min_size=len(tokens), max_size=len(tokens))
    return example(tokens, draw(weights))


EXAMPLES = st.lists(an_example(), max_size=30)


def unpack(packed: Packed) -> list[tuple[tuple[int, ...], tuple[float, ...]]]:
    found = []
    for row in range(len(packed)):
        for segment in range(1, packed.segments[row].max() + 1):
            here = packed.segments[row] == segment
            found.append((tuple(packed.tokens[row, here]), tuple(packed.weights[row, here])))
    return found


def test_encode_puts_the_loss_on_completion_and_end_only():
    encoded = packing.encode(TOKENIZER, "Q: é\nA:", "r: 1")
    assert TOKENIZER.decode(encoded.tokens) == "Q: é\nA:r: 1"
    assert (encoded.tokens[0], encoded.tokens[-1]) == (TOKENIZER.bos_id, TOKENIZER.eos_id)
    learnt = encoded.tokens[encoded.weights == 1]
    assert TOKENIZER.decode(learnt) == "r: 1" and learnt[-1] == TOKENIZER.eos_id
    assert set(encoded.weights) == {0, 1}
    assert (encoded.tokens.dtype, encoded.weights.dtype) == (np.int32, np.float32)


def test_join_is_one_document_with_the_loss_on_all_completions():
    joined = packing.join([packing.encode(TOKENIZER, "p", "c"), packing.encode(TOKENIZER, "q", "")])
    p, c, q = TOKENIZER.encode("pcq")
    assert joined.tokens.tolist() == [1, p, c, 2, 1, q, 2]
    assert joined.weights.tolist() == [0, 0, 1, 1, 0, 0, 1]
    assert packing.pack([joined], 8).segments.tolist() == [[1] * 7 + [0]]


CORPUS = [("Q1 ", "A1"), ("Q2 ", "A2"), ("Q3 ", "A3"), ("Q4 ", "A4"), ("Q5 ", "A5")]


@pytest.mark.parametrize(
    ("shots", "sizes"), [(1, [1, 1, 1, 1, 1]), (2, [1, 2, 1, 1]), (3, [1, 2, 2]), (9, [1, 2, 2])]
)
def test_documents_hold_every_pair_once_in_turns_of_one_to_shots(shots: int, sizes: list[int]):
    documents = packing.documents(TOKENIZER, CORPUS, shots)
    assert [document.tokens.tolist().count(TOKENIZER.eos_id) for document in documents] == sizes
    whole = packing.join(documents)
    text = "".join(prompt + completion for prompt, completion in CORPUS)
    assert TOKENIZER.decode(whole.tokens.tolist()) == text


def test_all_completions_of_a_document_are_learned_and_no_prompt():
    (*_, document) = packing.documents(TOKENIZER, CORPUS[:3], 2)
    learnt = document.tokens[document.weights == 1].tolist()
    expected = [TOKENIZER.encode(completion) + [TOKENIZER.eos_id] for _, completion in CORPUS[1:3]]
    assert learnt == sum(expected, [])
    assert TOKENIZER.decode(document.tokens[document.weights == 0].tolist()) == "Q2 Q3 "


def test_pack_golden():
    packed = packing.pack([example([5, 6]), example([7, 8, 9], [0, 1, 1]), example([4, 4])], 5)
    assert packed.tokens.tolist() == [[7, 8, 9, 5, 6], [4, 4, 0, 0, 0]]
    assert packed.segments.tolist() == [[1, 1, 1, 2, 2], [1, 1, 0, 0, 0]]
    assert packed.positions.tolist() == [[0, 1, 2, 0, 1], [0, 1, 0, 0, 0]]
    assert packed.weights.tolist() == [[0, 1, 1, 1, 1], [1, 1, 0, 0, 0]]
    assert [array.dtype for array in vars(packed).values()] == [np.int32] * 3 + [np.float32]


@settings(deadline=None)
@given(EXAMPLES)
def test_every_example_is_packed_whole_and_once(examples: list[Example]):
    packed = packing.pack(examples, LENGTH)
    assert packed.tokens.shape == (len(packed), LENGTH)
    put_in = [(tuple(e.tokens), tuple(e.weights)) for e in examples]
    assert Counter(unpack(packed)) == Counter(put_in)
    assert packed.weights.sum() == sum(e.weights.sum() for e in examples)


@settings(deadline=None)
@given(EXAMPLES)
def test_rows_are_laid_out_left_to_right(examples: list[Example]):
    packed = packing.pack(examples, LENGTH)
    for row in range(len(packed)):
        segments = packed.segments[row]
        used = int((segments > 0).sum())
        assert (np.diff(segments[:used]) >= 0).all() and (np.diff(segments[:used]) <= 1).all()
        assert segments[0] == 1  # no row is empty
        starts = np.flatnonzero(np.diff(segments[:used], prepend=0))
        ends = np.append(starts[1:], used)
        expected = np.concatenate([np.arange(e - s) for s, e in zip(starts, ends, strict=True)])
        assert packed.positions[row, :used].tolist() == expected.tolist()
        for array in (packed.tokens, packed.segments, packed.positions, packed.weights):
            assert not array[row, used:].any()


@settings(deadline=None)
@given(EXAMPLES)
def test_first_fit_leaves_no_room_for_a_later_row(examples: list[Example]):
    packed = packing.pack(examples, LENGTH)
    used = (packed.segments > 0).sum(axis=1)
    shortest = [
        (packed.segments[row] == packed.segments[row].max()).sum() for row in range(len(used))
    ]
    for later in range(len(used)):
        assert all(used[row] + shortest[later] > LENGTH for row in range(later))


def test_examples_of_one_length_keep_their_order():
    packed = packing.pack([example([n, n, n]) for n in range(3, 11)], 6)
    assert packed.tokens[:, ::3].tolist() == [[3, 4], [5, 6], [7, 8], [9, 10]]


def test_pack_of_nothing_has_no_row():
    assert packing.pack([], 8).tokens.shape == (0, 8)


def test_an_example_that_does_not_fit_is_named():
    with pytest.raises(ValueError, match="example 1 has 9 tokens and a packed sequence only 8"):
        packing.pack([example([3]), example([3] * 9), example([3])], 8)


def numbered(rows: int) -> Packed:
    return packing.pack([example([n] * 4) for n in range(1, rows + 1)], 4)


def drawn(
    packed: Packed, batch_size: int, seed: int, steps: int, start: int = 0
) -> list[list[int]]:
    found = packing.batches(packed, batch_size, seed, steps, start)
    return [batch.tokens[:, 0].tolist() for batch in found]


@settings(deadline=None)
@given(st.integers(1, 20), st.integers(1, 7), st.integers(0, 5), st.integers(0, 12))
def test_batches_resume_at_any_step(rows: int, batch_size: int, seed: int, start: int):
    packed = numbered(rows)
    assert drawn(packed, batch_size, seed, 12, start) == drawn(packed, batch_size, seed, 12)[start:]


@settings(deadline=None)
@given(st.integers(1, 20), st.integers(1, 7), st.integers(0, 5))
def test_every_epoch_holds_every_row_once(rows: int, batch_size: int, seed: int):
    steps = -(-3 * rows // batch_size)
    stream = sum(drawn(numbered(rows), batch_size, seed, steps), start=[])
    for epoch in range(3):  # the end of an epoch lies inside a batch: nothing is dropped there
        assert sorted(stream[epoch * rows : (epoch + 1) * rows]) == list(range(1, rows + 1))


@pytest.mark.parametrize(("rows", "batch_size"), [(5, 2), (5, 5), (2, 16), (1, 3)])
def test_batches_have_one_shape(rows: int, batch_size: int):
    for batch in packing.batches(numbered(rows), batch_size, seed=0, steps=4):
        for array in (batch.tokens, batch.segments, batch.positions, batch.weights):
            assert array.shape == (batch_size, 4)


def test_batches_hold_whole_rows():
    packed = packing.pack([example([n] * 3, [0, 0.5, n]) for n in range(1, 6)], 4)
    for batch in packing.batches(packed, 2, seed=0, steps=5):
        for row in range(2):
            source = int(batch.tokens[row, 0]) - 1
            for name, array in vars(packed).items():
                assert (vars(batch)[name][row] == array[source]).all()


def test_order_depends_on_seed_and_epoch():
    first, second = drawn(numbered(30), 30, seed=0, steps=2)
    assert first != second
    assert first != drawn(numbered(30), 30, seed=1, steps=1)[0]
    assert first != sorted(first)


def test_no_row_is_an_error():
    with pytest.raises(ValueError, match="nothing was kept to train on"):
        next(packing.batches(packing.pack([], 8), 2, seed=0, steps=1))


@pytest.mark.parametrize(("tokens", "named"), [([3, 7], ""), ([3, 8], "8"), ([-1, 3], "-1")])
def test_tokens_without_a_row_are_refused(tokens: list[int], named: str):
    documents = [example([0, 1]), example(tokens)]
    if not named:
        return packing.check_ids((one.tokens for one in documents), 8)
    with pytest.raises(ValueError, match=f"example 1 holds token {named}, .* rows for 0 to 7"):
        packing.check_ids((one.tokens for one in documents), 8)
