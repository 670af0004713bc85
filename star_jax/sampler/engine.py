"""From rows of prompt tokens to completions: chunks, padding and the trip to the device and back.

A sampler has a few static shapes (`Shape`). Rows are ordered by prompt length and cut into chunks;
a chunk runs in the smallest shape that holds its rows, and its last rows stay empty where it is not
full. A completion depends on the row and its number only, never on the chunk it happened to be in.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray


@dataclasses.dataclass(frozen=True, order=True)
class Shape:
    """The static shape of one sampling program.

    Attributes:
        budget: most new tokens of a row.
        prompt: places for the prompt, few-shot prompt not counted.
        rows: questions decoded at a time, over all devices.
    """

    budget: int
    prompt: int
    rows: int

    def holds(self, row: "Row") -> bool:
        """Whether a row of this prompt and budget fits."""
        return len(row.tokens) <= self.prompt and row.budget <= self.budget


@dataclasses.dataclass(frozen=True)
class Row:
    """One prompt to be continued.

    Attributes:
        number: identifies the row within its phase; its random draws follow from it.
        tokens: ids of the prompt, few-shot prompt not counted.
        budget: new tokens it may need.
    """

    number: int
    tokens: Sequence[int]
    budget: int


@dataclasses.dataclass(frozen=True)
class Completion:
    """What a row wrote.

    Attributes:
        number: of the row.
        tokens: ids, end-of-text included if it was written.
        truncated: the budget ended it, not the model.
    """

    number: int
    tokens: list[int]
    truncated: bool


@dataclasses.dataclass(frozen=True)
class Chunk:
    """Rows that are decoded together, and in which shape."""

    shape: Shape
    rows: tuple[Row, ...]


# (shape, tokens_BxP, start_B, number_B) -> tokens_BxN, length_B, finished_B
Decode = Callable[[Shape, NDArray, NDArray, NDArray], tuple[NDArray, NDArray, NDArray]]


def plan(rows: Sequence[Row], shapes: Sequence[Shape]) -> list[Chunk]:
    """Cuts rows into chunks: smallest shape that fits, short prompts first. Every row is in one.

    Raises:
        ValueError: a row fits no shape.
    """
    by_shape: dict[Shape, list[Row]] = {shape: [] for shape in sorted(shapes)}
    for row in sorted(rows, key=lambda row: (len(row.tokens), row.number)):
        fitting = next((shape for shape in by_shape if shape.holds(row)), None)
        if fitting is None:
            raise ValueError(
                f"row {row.number} has a prompt of {len(row.tokens)} tokens and a budget of "
                f"{row.budget}, more than the largest sampling shape {max(by_shape)}"
            )
        by_shape[fitting].append(row)
    return [
        Chunk(shape, tuple(members[first : first + shape.rows]))
        for shape, members in by_shape.items()
        for first in range(0, len(members), shape.rows)
    ]


def left_padded(rows: Sequence[Sequence[int]], shape: Shape) -> tuple[NDArray, NDArray]:
    """Prompts with padding before them, [B, P], and the place where each begins, [B].

    Rows of the shape that there are no prompts for are empty: they begin at P.
    """
    tokens = np.zeros((shape.rows, shape.prompt), np.int32)
    start = np.full((shape.rows,), shape.prompt, np.int32)
    for place, row in enumerate(rows):
        start[place] = shape.prompt - len(row)
        tokens[place, start[place] :] = row
    return tokens, start


def complete(chunk: Chunk, decode: Decode) -> list[Completion]:
    """Decodes one chunk; completions come in the order of its rows."""
    shape = chunk.shape
    tokens, start = left_padded([row.tokens for row in chunk.rows], shape)
    number = np.zeros((shape.rows,), np.int32)
    number[: len(chunk.rows)] = [row.number for row in chunk.rows]
    written, length, finished = decode(shape, tokens, start, number)
    return [
        Completion(row.number, written[place, : length[place]].tolist(), not finished[place])
        for place, row in enumerate(chunk.rows)
    ]
