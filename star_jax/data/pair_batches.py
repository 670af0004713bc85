"""Batches of preference pairs: both completions of a pair, packed, in one micro-batch.

Shapes: A micro-batches of P pairs each, B rows, T tokens.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from star_jax.data import packing
from star_jax.data.packing import Array, Example, Packed

Texts = tuple[Example, Example]  # chosen and rejected, each after its prompt


@dataclass(frozen=True, eq=False)
class PairBatch:
    """The pairs of one update, packed.

    In `training/dpo.py` it is a pytree; there a micro-batch is one too, without the first axis.

    Attributes:
        packed: the completions after their prompts, [A, B, T]; the weights of prompts are 0.
        sequences: int32 [A, B, T]: 1 + 2p in the chosen text of pair p of its micro-batch, 2 + 2p
            in the rejected one, 0 in padding.
        reference: float32 [A, P, 2]: log-probability of the chosen and of the rejected text by the
            reference model.
    """

    packed: Packed
    sequences: Array
    reference: Array


@dataclass(frozen=True)
class PairShape:
    """The shape that all batches of a training have.

    Attributes:
        pairs: number of pairs in a micro-batch.
        parts: number of micro-batches.
        rows: number of rows in a micro-batch.
        length: number of tokens in a row.
    """

    pairs: int
    parts: int
    rows: int
    length: int


@dataclass(frozen=True)
class PairData:
    """The pairs of a training, and the order in which it reads them.

    Attributes:
        texts: the pairs.
        batch_size: number of pairs in a batch.
        steps: number of batches.
        seed: seed of the order.
    """

    texts: Sequence[Texts]
    batch_size: int
    steps: int
    seed: int

    def shape(self, length: int, multiple: int, most_rows: int) -> PairShape:
        """Returns the least shape that holds every batch.

        The texts of a batch take as many rows as they need, which differs; all batches get the rows
        of the largest.

        Args:
            length: number of tokens in a row, at least those of the longest text.
            multiple: number that divides the rows: devices that share a batch.
            most_rows: rows above which a batch is cut to more micro-batches, of a divisor of
                `batch_size` pairs; 0: no limit.
        """
        parts = [n for n in range(1, self.batch_size + 1) if self.batch_size % n == 0]
        shapes = (self._shape(length, multiple, n) for n in parts)
        return next(
            shape
            for shape in shapes
            if not most_rows or shape.rows <= most_rows or shape.parts == self.batch_size
        )

    def _shape(self, length: int, multiple: int, parts: int) -> PairShape:
        needed = max(
            len(packing.first_fit(examples, length))
            for groups in self._groups(parts, 0)
            for _, examples in groups
        )
        rows = -(-needed // multiple) * multiple
        return PairShape(self.batch_size // parts, parts, rows, length)

    def batches(
        self, shape: PairShape, reference: NDArray[np.float32], start: int = 0
    ) -> Iterator[PairBatch]:
        """Yields the batches of steps start..steps-1; a batch depends on (seed, step) alone.

        Args:
            shape: shape of the batches.
            reference: log-probabilities of the texts by the reference model, float32 [pairs, 2].
            start: first step.
        """
        for groups in self._groups(shape.parts, start):
            parts = [_pack(examples, shape) for _, examples in groups]
            arrays = zip(*(vars(packed).values() for packed, _ in parts), strict=True)
            yield PairBatch(
                packed=Packed(*map(np.stack, arrays)),
                sequences=np.stack([sequences for _, sequences in parts]),
                reference=np.stack([reference[index] for index, _ in groups]),
            )

    def _groups(
        self, parts: int, start: int
    ) -> Iterator[list[tuple[NDArray[np.int64], list[Example]]]]:
        """Yields the micro-batches of each step: the pairs' indices, and their texts in order."""
        drawn = packing.draw(len(self.texts), self.batch_size, self.seed, self.steps, start)
        for batch in drawn:
            yield [
                (index, [text for pair in index for text in self.texts[pair]])
                for index in np.split(batch, parts)
            ]


def _pack(examples: Sequence[Example], shape: PairShape) -> tuple[Packed, NDArray[np.int32]]:
    """Returns rows [B, T] that hold the texts, and the number from 1 of the text at each token."""
    rows = packing.first_fit(examples, shape.length)
    rows += [[]] * (shape.rows - len(rows))
    sequences = np.zeros((shape.rows, shape.length), np.int32)
    for row, members in enumerate(rows):
        numbers = [np.full(len(examples[index].tokens), index + 1) for index in members]
        used = sum(map(len, numbers))
        sequences[row, :used] = np.concatenate([*numbers, []])
    return packing.fill(examples, rows, shape.length), sequences
