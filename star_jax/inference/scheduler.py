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

from star_jax.inference.buckets import Bucket


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
    """Requests that are decoded one after another in the slots of a bucket."""

    bucket: Bucket
    requests: tuple[Request, ...]


@dataclasses.dataclass
class SlotUsage:
    """How busy slots were.

    Attributes:
        steps: decoding steps, summed over slots.
        busy: those of them in which a slot's row wrote.
    """

    steps: int = 0
    busy: int = 0

    def add(self, other: "SlotUsage") -> None:
        """Adds what other slots did."""
        self.steps += other.steps
        self.busy += other.busy


class SlotBatch(Protocol):
    """B slots of a shape on the devices, N new tokens each at most; all are free at first.

    Attributes:
        count: B.
        order: all of them, in the order in which free ones are taken.
        fewer: slots after the next `shrink`; 0 where there is none.
        usage: how busy the slots were so far.
    """

    count: int
    order: Sequence[int]
    fewer: int
    usage: SlotUsage

    def choose(self, requests: Sequence[Request]) -> list[int]:
        """Numbers of the requests to admit next, together and in this order; 0 is one of them."""
        ...

    def admit(self, requests: Sequence[Request], slots: Sequence[int]) -> None:
        """Puts requests into slots."""
        ...

    def advance(self, wanted: int) -> tuple[NDArray, NDArray, NDArray]:
        """Writes until `wanted` slots are free or have ended.

        Returns:
            Tokens [B, N]; how many of them count, [B]; whether the row stopped by itself, [B].
        """
        ...

    def shrink(self, slots: Sequence[int]) -> Sequence[int]:
        """Goes on with the rows in `slots` in fewer of them, if it can; returns where each is."""
        ...


def plan(requests: Sequence[Request], buckets: Sequence[Bucket], refills: int = 1) -> list[Chunk]:
    """Cuts rows into chunks: smallest shape that fits, short prompts first. Every row is in one.

    Args:
        requests: in any order.
        buckets: to choose from.
        refills: rows of a chunk for each slot of its shape.

    Raises:
        ValueError: a row fits no shape.
    """
    by_shape: dict[Bucket, list[Request]] = {shape: [] for shape in sorted(buckets)}
    for row in sorted(requests, key=lambda row: (len(row.tokens), row.number)):
        fitting = next(
            (shape for shape in by_shape if shape.holds(len(row.tokens), row.max_new_tokens)), None
        )
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
    chunk: Chunk, slots: SlotBatch, on_ended: Callable[[int], object] = lambda count: None
) -> tuple[list[Completion], SlotUsage]:
    """Decodes one chunk.

    Args:
        chunk: what to decode.
        slots: of its bucket, all free.
        on_ended: called with how many rows have ended, whenever some have.

    Returns:
        Completions in the order of the chunk's requests, and how busy the slots were.
    """
    max_new_tokens = chunk.bucket.max_new_tokens
    waiting = list(chunk.requests)
    batch: list[int] = []  # of those that wait, to be admitted next
    running: dict[int, tuple[Request, int]] = {}  # by slot; and the slot it was admitted to
    completed: dict[int, Completion] = {}
    while waiting or running:
        free = [slot for slot in slots.order if slot not in running]
        while waiting and len(batch := slots.choose(waiting[: slots.count])) <= len(free):
            admitted, free = free[: len(batch)], free[len(batch) :]
            requests = [waiting[one] for one in batch]
            slots.admit(requests, admitted)
            running |= {
                slot: (request, slot) for slot, request in zip(admitted, requests, strict=True)
            }
            taken = set(batch)
            waiting = [request for one, request in enumerate(waiting) if one not in taken]
        while not waiting and len(running) <= slots.fewer:
            before = slots.count
            running = dict(zip(slots.shrink(list(running)), running.values(), strict=True))
            if slots.count == before:
                break
        least = slots.count - len(running) + max(1, len(running) - slots.fewer)
        tokens, length, finished = slots.advance(len(batch) if waiting else least)
        ended = [slot for slot in running if finished[slot] or length[slot] >= max_new_tokens]
        for slot in ended:
            request, admitted_to = running.pop(slot)
            written = tokens[slot, : length[slot]].tolist()
            completed[request.number] = Completion(
                request.number, written, not finished[slot], admitted_to
            )
        on_ended(len(ended))
    return [completed[request.number] for request in chunk.requests], slots.usage
