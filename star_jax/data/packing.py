"""Examples of any length -> batches of one fixed shape, with segments and loss weights."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from star_jax.data.tokenizer import Tokenizer


@dataclass(frozen=True, eq=False)
class Example:
    """One document of L tokens to train on.

    Attributes:
        tokens: int32 [L].
        weights: float32 [L], the weight in the loss of predicting tokens[t] from those before it.
    """

    tokens: NDArray[np.int32]
    weights: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Packed:
    """N rows of T tokens; a row holds several examples one after another, then padding.

    Attributes:
        tokens: int32 [N, T], 0 in padding.
        segments: int32 [N, T], 1, 2, ... for the examples of a row, 0 for padding.
        positions: int32 [N, T], from 0 in each example; 0 in padding.
        weights: float32 [N, T], as in Example; 0 in padding.
    """

    tokens: NDArray[np.int32]
    segments: NDArray[np.int32]
    positions: NDArray[np.int32]
    weights: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.tokens)

    def rows(self, index: NDArray[np.int64]) -> "Packed":
        """The rows at `index` [M], as Packed of shape [M, T]."""
        return Packed(
            self.tokens[index], self.segments[index], self.positions[index], self.weights[index]
        )


def encode(tokenizer: Tokenizer, prompt: str, completion: str) -> Example:
    """Makes bos + prompt + completion + eos, with the loss on the completion and eos only.

    The border is where the prompt ends, known from its length. No character of the text marks it:
    a rationale may hold any of them, colons included.
    """
    before = [*bos(tokenizer), *tokenizer.encode(prompt)]
    return example(before, [*continued(tokenizer, before, prompt, completion), tokenizer.eos_id])


def continued(tokenizer: Tokenizer, before: Sequence[int], text: str, more: str) -> list[int]:
    """Token ids of `more` where it follows `text`, whose ids are `before`.

    A tokenizer cuts a text otherwise than its parts: GPT-2's has a token for a blank line, but not
    before a word, and Llama 2's puts a space before whatever is encoded by itself.

    Where `text` with `more` does not begin with `before`, `more` is encoded by itself.
    """
    whole = [*bos(tokenizer), *tokenizer.encode(text + more)]
    begun = whole[: len(before)] == list(before)
    return whole[len(before) :] if begun else tokenizer.encode(more)


def bos(tokenizer: Tokenizer) -> list[int]:
    """The ids that a document begins with: one or none."""
    return [] if tokenizer.bos_id is None else [tokenizer.bos_id]


def example(context: Sequence[int], target: Sequence[int]) -> Example:
    """The document `context` + `target`, with the loss on predicting the latter."""
    return Example(
        tokens=np.array([*context, *target], np.int32),
        weights=np.array([0] * len(context) + [1] * len(target), np.float32),
    )


def join(examples: Sequence[Example]) -> Example:
    """The examples as one document, each attending to those before it: few-shot text."""
    return Example(
        tokens=np.concatenate([example.tokens for example in examples]),
        weights=np.concatenate([example.weights for example in examples]),
    )


def check_ids(documents: Iterable[Sequence[int] | NDArray[np.int32]], rows: int) -> None:
    """Refuses tokens that a model with so many rows of its vocabulary has none for.

    It would take others in their place, and a loss of predicting them is NaN.

    Raises:
        ValueError: there is such a token.
    """
    for number, tokens in enumerate(documents):
        low, high = np.min(tokens, initial=0), np.max(tokens, initial=0)
        if low < 0 or high >= rows:
            raise ValueError(
                f"example {number} holds token {min(low, 0) or high}, and the model has rows for 0 "
                f"to {rows - 1}: tokenizer and model do not belong together"
            )


def pack(examples: Sequence[Example], length: int) -> Packed:
    """Puts every example whole into a row of `length` tokens: first fit, longest first.

    Examples of the same length keep their order, so the same examples give the same rows.

    Raises:
        ValueError: an example is longer than `length`.
    """
    sizes = np.array([len(example.tokens) for example in examples], np.int64)
    if len(sizes) and sizes.max() > length:
        raise ValueError(
            f"example {sizes.argmax()} has {sizes.max()} tokens and a packed sequence only "
            f"{length}: raise the packed length, or leave the example out"
        )
    rows = _first_fit(sizes, length)
    packed = Packed(
        tokens=np.zeros((len(rows), length), np.int32),
        segments=np.zeros((len(rows), length), np.int32),
        positions=np.zeros((len(rows), length), np.int32),
        weights=np.zeros((len(rows), length), np.float32),
    )
    for row, members in enumerate(rows):
        start = 0
        for segment, index in enumerate(members, 1):
            here = slice(start, start := start + int(sizes[index]))
            packed.tokens[row, here] = examples[index].tokens
            packed.segments[row, here] = segment
            packed.positions[row, here] = np.arange(sizes[index])
            packed.weights[row, here] = examples[index].weights
    return packed


def _first_fit(sizes: NDArray[np.int64], length: int) -> list[list[int]]:
    """The examples' indices row by row. room[r] is what row r has left; unopened rows are whole."""
    room = np.full(len(sizes) + 1, length)
    rows: list[list[int]] = []
    for index in np.argsort(-sizes, kind="stable").tolist():
        row = int(np.argmax(room[: len(rows) + 1] >= sizes[index]))
        if row == len(rows):
            rows.append([])
        rows[row].append(index)
        room[row] -= sizes[index]
    return rows


def batches(
    packed: Packed, batch_size: int, seed: int, steps: int, start: int = 0
) -> Iterator[Packed]:
    """The batches of steps start..steps-1, each Packed of shape [batch_size, T].

    Rows come in a new order every epoch, and a batch that an epoch's end leaves incomplete is
    filled from the next epoch, so that none is dropped. What a step gets depends on (seed, step)
    alone: training resumes at any `start` with the batches it would have had.

    Raises:
        ValueError: there is no row.
    """
    if not len(packed):
        raise ValueError("no packed sequence to draw batches from: nothing was kept to train on")
    epoch, order = -1, np.arange(0)
    for step in range(start, steps):
        index = np.empty(batch_size, np.int64)
        for slot in range(batch_size):
            now, row = divmod(step * batch_size + slot, len(packed))
            if now != epoch:
                epoch, order = now, np.random.default_rng([seed, now]).permutation(len(packed))
            index[slot] = order[row]
        yield packed.rows(index)
