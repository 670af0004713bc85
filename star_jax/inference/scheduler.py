"""Schedules requests: cuts them into chunks and decodes a chunk in the slots of a bucket.

Sampling is compiled for a few static shapes (`Bucket`). Requests are ordered by prompt length and
cut into chunks, each of the smallest bucket that holds its requests. The prompts of a few requests
are read together, once, whatever their samples are. A row is one sample of a request. When a row
has ended, a waiting one gets its slot while the others continue. When none waits, the last rows
continue in fewer slots. A completion depends only on the request and its numbers, never on its
slot.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from star_jax.inference.buckets import Bucket

REQUESTS = 2**20  # limit of the requests of a phase that have more than one sample
SAMPLES = 2**11  # limit of the samples of a request


def draw_number(number: int, sample: int) -> int:
    """Returns the number that determines a row's random draws: of a sample of a request.

    It does not depend on how many samples the request has. Sample 0 has the request's number.
    """
    return number + sample * REQUESTS


@dataclasses.dataclass(frozen=True)
class Request:
    """One prompt to be continued.

    Attributes:
        number: number of the request within its phase, which determines its random draws.
        tokens: token ids of the prompt, few-shot prompt not included.
        max_new_tokens: most new tokens that it may need.
        samples: number of completions.

    Raises:
        ValueError: the numbers of the samples do not fit into 32 bits.
    """

    number: int
    tokens: Sequence[int]
    max_new_tokens: int
    samples: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.samples <= SAMPLES:
            raise ValueError(
                f"row {self.number} has {self.samples} samples: must be 1 to {SAMPLES}"
            )
        if self.samples > 1 and self.number >= REQUESTS:
            raise ValueError(
                f"row {self.number} has {self.samples} samples: a phase of several samples has "
                f"at most {REQUESTS} rows; sample fewer problems at a time"
            )


@dataclasses.dataclass(frozen=True)
class Row:
    """A sample of a request, which takes one slot.

    Attributes:
        request: the request.
        sample: index of the sample.
    """

    request: Request
    sample: int

    @property
    def number(self) -> int:
        """Number that determines the row's random draws."""
        return draw_number(self.request.number, self.sample)


@dataclasses.dataclass(frozen=True)
class Completion:
    """The new tokens of a row.

    Attributes:
        number: number of the request.
        tokens: token ids, end-of-text included if it was written.
        truncated: True if the bucket's `max_new_tokens` ended the row instead of the stop rule.
        slot: slot that the row was admitted to.
        sample: index of the sample.
    """

    number: int
    tokens: list[int]
    truncated: bool
    slot: int
    sample: int = 0


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
        wave: number of slots that are to be free before more rows of prompts that have been read
            are admitted, unless fewer rows are left.
        fewer: number of slots after the next `shrink`; 0 if they cannot shrink.
        usage: use of the slots so far.
    """

    count: int
    order: Sequence[int]
    wave: int
    fewer: int
    usage: SlotUsage

    def choose(self, requests: Sequence[Request]) -> list[int]:
        """Returns the indices of the requests to read next, together and in this order.

        Index 0 is one of them.
        """
        ...

    def prefill(self, requests: Sequence[Request]) -> None:
        """Reads the prompts of requests; those that were read before are forgotten."""
        ...

    def admit(self, rows: Sequence[Row], slots: Sequence[int]) -> int:
        """Puts the first rows into the first slots; their prompts have been read.

        Args:
            rows: all rows of these prompts that wait.
            slots: free slots.

        Returns:
            The number of rows that it has admitted, at least one.
        """
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

    Every request is in one chunk, with all of its samples.

    Args:
        requests: requests in any order.
        buckets: buckets to choose from.
        refills: most completions of a chunk for each slot of its bucket; a chunk has at least one
            request.

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
        Chunk(bucket, part)
        for bucket, members in by_bucket.items()
        for part in _parts(members, bucket.rows * refills)
    ]


def _parts(requests: Sequence[Request], most: int) -> list[tuple[Request, ...]]:
    """Cuts requests, in their order, into parts of at most `most` samples, or one request."""
    parts: list[list[Request]] = []
    left = 0
    for request in requests:
        if not parts or request.samples > left:
            parts.append([])
            left = most
        parts[-1].append(request)
        left -= request.samples
    return [tuple(part) for part in parts]


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
        Completions in the order of the chunk's requests, then of their samples, and the use of the
        slots.
    """
    max_new_tokens = chunk.bucket.max_new_tokens
    queue = _Queue(chunk.requests, slots)
    running: dict[int, tuple[Row, int]] = {}  # the row in each slot, and where it was admitted to
    completed: dict[tuple[int, int], Completion] = {}
    while queue.waits or running:
        free = [slot for slot in slots.order if slot not in running]
        while queue.waits and queue.wanted() <= len(free):
            rows = queue.admit(free)
            running |= {slot: (row, slot) for slot, row in zip(free, rows, strict=False)}
            free = free[len(rows) :]
        while not queue.waits and len(running) <= slots.fewer:
            before = slots.count
            running = dict(zip(slots.shrink(list(running)), running.values(), strict=True))
            if slots.count == before:
                break
        least = slots.count - len(running) + max(1, len(running) - slots.fewer)
        wanted = queue.wanted() if queue.waits else least
        tokens, length, finished = slots.advance(wanted)
        ended = [slot for slot in running if finished[slot] or length[slot] >= max_new_tokens]
        for slot in ended:
            row, admitted_to = running.pop(slot)
            completed[row.request.number, row.sample] = Completion(
                number=row.request.number,
                tokens=tokens[slot, : length[slot]].tolist(),
                truncated=not finished[slot],
                slot=admitted_to,
                sample=row.sample,
            )
        on_ended(len(ended))
    order = [(one.number, sample) for one in chunk.requests for sample in range(one.samples)]
    return [completed[key] for key in order], slots.usage


class _Queue:
    """The rows that wait for slots: of the prompts read last, then of all other requests.

    Args:
        requests: requests, in the order in which they wait.
        slots: slots of the requests' bucket.
    """

    def __init__(self, requests: Sequence[Request], slots: SlotBatch) -> None:
        self._requests, self._slots = list(requests), slots
        self._batch: list[int] = []  # indices of the requests to read next
        self._prompts = 0  # number of prompts that were read last
        self._rows: list[Row] = []  # rows of these prompts

    @property
    def waits(self) -> bool:
        """Whether any row waits."""
        return bool(self._requests or self._rows)

    def wanted(self) -> int:
        """Returns the number of slots that must be free before rows are admitted."""
        prompts, rows = self._prompts, len(self._rows)
        if not rows:
            self._batch = self._slots.choose(self._requests[: self._slots.count])
            prompts = len(self._batch)
            rows = sum(self._requests[one].samples for one in self._batch)
        return min(rows, max(prompts, self._slots.wave))

    def admit(self, free: Sequence[int]) -> list[Row]:
        """Admits rows to the first of the free slots, after `wanted`; returns these rows."""
        if not self._rows:
            chosen, taken = [self._requests[one] for one in self._batch], set(self._batch)
            self._slots.prefill(chosen)
            self._prompts, most = len(chosen), max(one.samples for one in chosen)
            self._rows = [
                Row(one, sample) for sample in range(most) for one in chosen if sample < one.samples
            ]
            self._requests = [one for index, one in enumerate(self._requests) if index not in taken]
        count = self._slots.admit(self._rows, free)
        admitted, self._rows = self._rows[:count], self._rows[count:]
        return admitted
