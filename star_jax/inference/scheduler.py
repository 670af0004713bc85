"""Schedules requests: cuts them into chunks and decodes a chunk in the slots of a bucket.

Sampling is compiled for a few static shapes (`Bucket`). Requests are ordered by prompt length and
cut into chunks, each of the smallest bucket that holds its requests. When a row has ended, a
waiting request gets its slot while the other rows continue. When no request waits, the last rows
continue in fewer slots. A completion depends only on the request and its number, never on its slot.
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
        number: number of the request within its phase, which determines its random draws.
        tokens: token ids of the prompt, few-shot prompt not included.
        max_new_tokens: most new tokens that it may need.
    """

    number: int
    tokens: Sequence[int]
    max_new_tokens: int


@dataclasses.dataclass(frozen=True)
class Completion:
    """The new tokens of a row.

    Attributes:
        number: number of the request.
        tokens: token ids, end-of-text included if it was written.
        truncated: True if the bucket's `max_new_tokens` ended the row instead of the stop rule.
        slot: slot that the request was admitted to.
    """

    number: int
    tokens: list[int]
    truncated: bool
    slot: int


@dataclasses.dataclass(frozen=True)
class Chunk:
    """Requests that share the slots of a bucket.

    Attributes:
        bucket: static shape of the slots.
        requests: requests to decode, in the order in which they wait for slots.
    """

    bucket: Bucket
    requests: tuple[Request, ...]


@dataclasses.dataclass
class SlotUsage:
    """The use of slots.

    Attributes:
        steps: number of decoding steps, summed over slots.
        busy: number of these steps in which a slot's row wrote.
    """

    steps: int = 0
    busy: int = 0

    def add(self, other: "SlotUsage") -> None:
        """Adds the steps of other slots."""
        self.steps += other.steps
        self.busy += other.busy


class SlotBatch(Protocol):
    """B slots of a bucket on the devices, at most N new tokens each; all are free at first.

    Attributes:
        count: number of slots, B.
        order: all slots, in the order in which free ones are taken.
        fewer: number of slots after the next `shrink`; 0 if they cannot shrink.
        usage: use of the slots so far.
    """

    count: int
    order: Sequence[int]
    fewer: int
    usage: SlotUsage

    def choose(self, requests: Sequence[Request]) -> list[int]:
        """Returns the indices of the requests to admit next, together and in this order.

        Index 0 is one of them.
        """
        ...

    def admit(self, requests: Sequence[Request], slots: Sequence[int]) -> None:
        """Puts requests into slots."""
        ...

    def advance(self, wanted: int) -> tuple[NDArray, NDArray, NDArray]:
        """Writes tokens until `wanted` slots are free or have ended.

        Returns:
            New tokens [B, N], their number [B], and whether the stop rule has ended the row [B].
        """
        ...

    def shrink(self, slots: Sequence[int]) -> Sequence[int]:
        """Moves the rows in `slots` into fewer slots, if it can; returns the slot of each."""
        ...


def plan(requests: Sequence[Request], buckets: Sequence[Bucket], refills: int = 1) -> list[Chunk]:
    """Cuts requests into chunks of the smallest bucket that fits, short prompts first.

    Every request is in one chunk.

    Args:
        requests: requests in any order.
        buckets: buckets to choose from.
        refills: number of requests in a chunk for each slot of its bucket.

    Raises:
        ValueError: a request fits no bucket.
    """
    by_bucket: dict[Bucket, list[Request]] = {bucket: [] for bucket in sorted(buckets)}
    for request in sorted(requests, key=lambda request: (len(request.tokens), request.number)):
        length, max_new_tokens = len(request.tokens), request.max_new_tokens
        fitting = next((one for one in by_bucket if one.holds(length, max_new_tokens)), None)
        if fitting is None:
            raise ValueError(
                f"row {request.number} has a prompt of {length} tokens and a budget of "
                f"{max_new_tokens}, more than the largest sampling shape {max(by_bucket)}"
            )
        by_bucket[fitting].append(request)
    return [
        Chunk(bucket, tuple(members[first : first + bucket.rows * refills]))
        for bucket, members in by_bucket.items()
        for first in range(0, len(members), bucket.rows * refills)
    ]


def left_padded(rows: Sequence[Sequence[int]], shape: Bucket) -> tuple[NDArray, NDArray]:
    """Pads prompts on the left; returns tokens [B, P] and the index of each first token [B].

    Rows of the bucket beyond the prompts are empty: their index is P.
    """
    tokens = np.zeros((shape.rows, shape.prompt_length), np.int32)
    start = np.full((shape.rows,), shape.prompt_length, np.int32)
    for i, row in enumerate(rows):
        start[i] = shape.prompt_length - len(row)
        tokens[i, start[i] :] = row
    return tokens, start


def run(
    chunk: Chunk, slots: SlotBatch, on_ended: Callable[[int], object] = lambda count: None
) -> tuple[list[Completion], SlotUsage]:
    """Decodes one chunk.

    Args:
        chunk: requests to decode.
        slots: slots of the chunk's bucket, all free.
        on_ended: function called with the number of rows that have ended, after each `advance`.

    Returns:
        Completions in the order of the chunk's requests, and the use of the slots.
    """
    max_new_tokens = chunk.bucket.max_new_tokens
    waiting = list(chunk.requests)
    batch: list[int] = []  # indices in `waiting` of the requests to admit next
    # The request in each slot, and the slot that it was admitted to.
    running: dict[int, tuple[Request, int]] = {}
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
                number=request.number,
                tokens=written,
                truncated=not finished[slot],
                slot=admitted_to,
            )
        on_ended(len(ended))
    return [completed[request.number] for request in chunk.requests], slots.usage
