"""Packs examples of any length into batches of one shape, with segments and loss weights."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from star_jax.data.tokenizer import Tokenizer

Array = Any  # NumPy's; on the devices a jax.Array


@dataclass(frozen=True, eq=False)
class Example:
    """One document of L tokens to train on.

    Attributes:
        tokens: token ids, int32 [L].
        weights: float32 [L]; weights[t] is the loss weight of predicting tokens[t] from the tokens
            before it.
    """

    tokens: NDArray[np.int32]
    weights: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Packed:
    """N rows of T tokens; a row holds several examples one after another, then padding.

    A batch to train on is one too: there N is B, and `training/step.py` makes it a pytree.

    Attributes:
        tokens: token ids, int32 [N, T]; 0 in padding.
        segments: segment ids, int32 [N, T]: 1, 2, ... for the examples of a row, 0 in padding.
        positions: positions, int32 [N, T]: from 0 in each example; 0 in padding.
        weights: loss weights, float32 [N, T], the same as in `Example`; 0 in padding.
    """

    tokens: Array
    segments: Array
    positions: Array
    weights: Array

    def __len__(self) -> int:
        return len(self.tokens)

    def rows(self, index: NDArray[np.int64]) -> "Packed":
        """Returns the rows at `index` [M], as Packed of shape [M, T]."""
        return Packed(
            tokens=self.tokens[index],
            segments=self.segments[index],
            positions=self.positions[index],
            weights=self.weights[index],
        )


def encode(tokenizer: Tokenizer, prompt: str, completion: str) -> Example:
    """Returns bos + prompt + completion + eos, with the loss on the completion and eos only.

    The loss begins after as many tokens as the prompt has. It is not found by a character in the
    text, because a rationale may hold any character, colons included.
    """
    before = [*bos(tokenizer), *tokenizer.encode(prompt)]
    return example(before, [*continued(tokenizer, before, prompt, completion), tokenizer.eos_id])


def continued(tokenizer: Tokenizer, before: Sequence[int], text: str, more: str) -> list[int]:
    """Returns the token ids of `more` after `text`, whose ids are `before`.

    The tokens of a text are not those of its parts joined: GPT-2 has a token for a blank line,
    which it does not use before a word, and Llama 2 puts a space before any text that is encoded by
    itself. So `text + more` is encoded and cut after `before`.

    If the ids of `text + more` do not begin with `before`, `more` is encoded by itself.
    """
    whole = [*bos(tokenizer), *tokenizer.encode(text + more)]
    matches = whole[: len(before)] == list(before)
    return whole[len(before) :] if matches else tokenizer.encode(more)


def bos(tokenizer: Tokenizer) -> list[int]:
    """Returns the ids that a document begins with: one or none."""
    return [] if tokenizer.bos_id is None else [tokenizer.bos_id]


def example(context: Sequence[int], target: Sequence[int]) -> Example:
    """Returns the document `context` + `target`, with the loss on predicting `target`."""
    return Example(
        tokens=np.array([*context, *target], np.int32),
        weights=np.array([0] * len(context) + [1] * len(target), np.float32),
    )


def join(examples: Sequence[Example]) -> Example:
    """Joins examples to one document, each attending to those before it: few-shot text."""
    return Example(
        tokens=np.concatenate([example.tokens for example in examples]),
        weights=np.concatenate([example.weights for example in examples]),
    )


def documents(tokenizer: Tokenizer, corpus: Sequence[tuple[str, str]], shots: int) -> list[Example]:
    """Returns pretraining documents, each of 1 to `shots` (prompt, completion) pairs in a row.

    Sizes alternate (1, 2, ..., `shots`, 1, ...), so the model meets a question both first and after
    worked examples.
    """
    examples = [encode(tokenizer, *pair) for pair in corpus]
    joined: list[Example] = []
    first = 0
    while first < len(examples):
        size = 1 + len(joined) % shots
        joined.append(join(examples[first : first + size]))
        first += size
    return joined


def check_ids(documents: Iterable[Sequence[int] | NDArray[np.int32]], rows: int) -> None:
    """Refuses token ids outside of an embedding with `rows` rows.

    The model would look up other rows instead, and the loss of predicting such tokens is NaN.

    Raises:
        ValueError: a document holds such a token.
    """
    for number, tokens in enumerate(documents):
        low, high = np.min(tokens, initial=0), np.max(tokens, initial=0)
        if low < 0 or high >= rows:
            raise ValueError(
                f"example {number} holds token {min(low, 0) or high}, and the model has rows for 0 "
                f"to {rows - 1}: tokenizer and model do not belong together"
            )


def pack(examples: Sequence[Example], length: int) -> Packed:
    """Puts every example whole into a row of `length` tokens, in the rows of `first_fit`.

    Raises:
        ValueError: an example is longer than `length`.
    """
    return fill(examples, first_fit(examples, length), length)


def first_fit(examples: Sequence[Example], length: int) -> list[list[int]]:
    """Returns the indices of the examples in each row of `length` tokens: longest first.

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
    free = np.full(len(sizes) + 1, length)  # free tokens of each row, opened or not
    rows: list[list[int]] = []
    for index in np.argsort(-sizes, kind="stable").tolist():
        row = int(np.argmax(free[: len(rows) + 1] >= sizes[index]))
        if row == len(rows):
            rows.append([])
        rows[row].append(index)
        free[row] -= sizes[index]
    return rows


def fill(examples: Sequence[Example], rows: Sequence[Sequence[int]], length: int) -> Packed:
    """Returns rows of `length` tokens that hold the examples at these indices, in their order."""
    packed = Packed(
        tokens=np.zeros((len(rows), length), np.int32),
        segments=np.zeros((len(rows), length), np.int32),
        positions=np.zeros((len(rows), length), np.int32),
        weights=np.zeros((len(rows), length), np.float32),
    )
    for row, members in enumerate(rows):
        start = 0
        for segment, index in enumerate(members, 1):
            size = len(examples[index].tokens)
            here = slice(start, start := start + size)
            packed.tokens[row, here] = examples[index].tokens
            packed.segments[row, here] = segment
            packed.positions[row, here] = np.arange(size)
            packed.weights[row, here] = examples[index].weights
    return packed


def batches(
    packed: Packed, batch_size: int, seed: int, steps: int, start: int = 0
) -> Iterator[Packed]:
    """Yields the batches of steps start..steps-1, each Packed of shape [batch_size, T]: `draw`.

    Raises:
        ValueError: `packed` has no rows.
    """
    if not len(packed):
        raise ValueError("no packed sequence to draw batches from: nothing was kept to train on")
    for index in draw(len(packed), batch_size, seed, steps, start):
        yield packed.rows(index)


def draw(
    count: int, batch_size: int, seed: int, steps: int, start: int = 0
) -> Iterator[NDArray[np.int64]]:
    """Yields the indices, of `count` items, in the batches of steps start..steps-1.

    Items are shuffled anew every epoch. A batch that an epoch's end leaves incomplete is filled
    from the next epoch, so that no item is dropped. The batch of a step depends on (seed, step)
    alone, so training resumed at any `start` gets the same batches as without the interruption.

    Args:
        count: number of items, at least 1.
        batch_size: number of items in a batch.
        seed: seed of the order.
        steps: number of all steps.
        start: first step.
    """
    epoch, order = -1, np.arange(0)
    for step in range(start, steps):
        index = np.empty(batch_size, np.int64)
        for slot in range(batch_size):
            current, item = divmod(step * batch_size + slot, count)
            if current != epoch:
                epoch = current
                order = np.random.default_rng([seed, epoch]).permutation(count)
            index[slot] = order[item]
        yield index
