"""From rows of prompt tokens to completions: chunks, slots, and the trip to the device and back.

A sampler has a few static shapes (`Shape`). Rows are ordered by prompt length and cut into chunks,
each of the smallest shape that holds its rows. A chunk is worked off in the slots of its shape:
where a row has ended, one that waits takes its place while the others go on; where none waits, the
last ones go on in fewer slots. A completion depends on the row and its number only, never on the
slot it happened to be in.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclasses.dataclass(frozen=True, order=True)
class Bucket:
    """The static shape of one sampling program.

    Attributes:
        budget: most new tokens of a row.
        prompt: places for the prompt, few-shot prompt not counted.
        rows: slots: questions decoded at a time, over all devices.
    """

    max_new_tokens: int
    prompt_length: int
    rows: int

    def holds(self, row: "Request") -> bool:
        """Whether a row of this prompt and budget fits."""
        return len(row.tokens) <= self.prompt_length and row.max_new_tokens <= self.max_new_tokens


@dataclasses.dataclass(frozen=True)
class Request:
    """One prompt to be continued.

    Attributes:
        number: identifies the row within its phase; its random draws follow from it.
        tokens: ids of the prompt, few-shot prompt not counted.
        budget: new tokens it may need.
    """

    number: int
    tokens: Sequence[int]
    max_new_tokens: int


@dataclasses.dataclass(frozen=True)
class Completion:
    """What a row wrote.

    Attributes:
        number: of the row.
        tokens: ids, end-of-text included if it was written.
        truncated: the budget ended it, not the model.
        slot: the one that it was admitted to.
    """

    number: int
    tokens: list[int]
    truncated: bool
    slot: int


@dataclasses.dataclass(frozen=True)
class Chunk:
    """Rows that are decoded one after another in the slots of a shape."""

    shape: Bucket
    rows: tuple[Request, ...]


class SlotBatch(Protocol):
    """B slots of a shape on the devices, N new tokens each at most; all are free at first.

    Attributes:
        count: B.
        order: all of them, in the order in which free ones are taken.
        fewer: slots after the next `shrink`; 0 where there is none.
    """

    count: int
    order: Sequence[int]
    fewer: int

    def choose(self, rows: Sequence[Request]) -> list[int]:
        """Numbers of the rows to admit next, together and in this order; 0 is one of them."""
        ...

    def admit(self, rows: Sequence[Request], places: Sequence[int]) -> None:
        """Puts rows into slots."""
        ...

    def advance(self, wanted: int) -> tuple[NDArray, NDArray, NDArray]:
        """Writes until `wanted` slots are free or have ended.

        Returns:
            Tokens [B, N]; how many of them count, [B]; whether the row stopped by itself, [B].
        """
        ...

    def shrink(self, places: Sequence[int]) -> Sequence[int]:
        """Goes on with the rows in `places` in fewer slots, if it can; tells where they are now."""
        ...


def plan(rows: Sequence[Request], shapes: Sequence[Bucket], refills: int = 1) -> list[Chunk]:
    """Cuts rows into chunks: smallest shape that fits, short prompts first. Every row is in one.

    Args:
        rows: in any order.
        shapes: to choose from.
        refills: rows of a chunk for each slot of its shape.

    Raises:
        ValueError: a row fits no shape.
    """
    by_shape: dict[Bucket, list[Request]] = {shape: [] for shape in sorted(shapes)}
    for row in sorted(rows, key=lambda row: (len(row.tokens), row.number)):
        fitting = next((shape for shape in by_shape if shape.holds(row)), None)
        if fitting is None:
            raise ValueError(
                f"row {row.number} has a prompt of {len(row.tokens)} tokens and a budget of "
                f"{row.max_new_tokens}, more than the largest sampling shape {max(by_shape)}"
            )
        by_shape[fitting].append(row)
    return [
        Chunk(shape, tuple(members[first : first + shape.rows * refills]))
        for shape, members in by_shape.items()
        for first in range(0, len(members), shape.rows * refills)
    ]


def left_padded(rows: Sequence[Sequence[int]], shape: Bucket) -> tuple[NDArray, NDArray]:
    """Prompts with padding before them, [B, P], and the place where each begins, [B].

    Rows of the shape that there are no prompts for are empty: they begin at P.
    """
    tokens = np.zeros((shape.rows, shape.prompt_length), np.int32)
    start = np.full((shape.rows,), shape.prompt_length, np.int32)
    for place, row in enumerate(rows):
        start[place] = shape.prompt_length - len(row)
        tokens[place, start[place] :] = row
    return tokens, start


def run(
    chunk: Chunk, slots: SlotBatch, heard: Callable[[int], object] = lambda count: None
) -> list[Completion]:
    """Decodes one chunk; completions come in the order of its rows.

    Args:
        chunk: what to decode.
        slots: of its shape, all free.
        heard: is told how many rows have ended, whenever some have.
    """
    budget = chunk.shape.max_new_tokens
    waiting = list(chunk.rows)
    wave: list[int] = []  # of those that wait, to be admitted next
    inside: dict[int, tuple[Request, int]] = {}  # by place; and the slot it was admitted to
    found: dict[int, Completion] = {}
    while waiting or inside:
        free = [place for place in slots.order if place not in inside]
        while waiting and len(wave := slots.choose(waiting[: slots.count])) <= len(free):
            places, free = free[: len(wave)], free[len(wave) :]
            rows = [waiting[one] for one in wave]
            slots.admit(rows, places)
            inside |= {place: (row, place) for place, row in zip(places, rows, strict=True)}
            chosen = set(wave)
            waiting = [row for one, row in enumerate(waiting) if one not in chosen]
        while not waiting and len(inside) <= slots.fewer:
            before = slots.count
            inside = dict(zip(slots.shrink(list(inside)), inside.values(), strict=True))
            if slots.count == before:
                break
        least = slots.count - len(inside) + max(1, len(inside) - slots.fewer)
        tokens, length, finished = slots.advance(len(wave) if waiting else least)
        ended = [place for place in inside if finished[place] or length[place] >= budget]
        for place in ended:
            row, slot = inside.pop(place)
            written = tokens[place, : length[place]].tolist()
            found[row.number] = Completion(row.number, written, not finished[place], slot)
        heard(len(ended))
    return [found[row.number] for row in chunk.rows]
