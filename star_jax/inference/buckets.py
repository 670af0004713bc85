"""The static shapes that sampling is compiled for: buckets of rows, and their KV rings."""

import dataclasses
from collections.abc import Sequence

_BLOCK = 64  # the length of a page is a multiple of it, unless one page holds all new tokens
_MOST_PAGES = 4  # limit of a ring's pages
_HALVINGS = 2  # times that the slots are halved at most, once no request waits for one
_FEWEST = 8  # slots that each shard keeps at least


@dataclasses.dataclass(frozen=True, order=True)
class Bucket:
    """A static shape of the sampling programs.

    Attributes:
        max_new_tokens: most new tokens of a row.
        prompt_length: most tokens of a prompt, few-shot prompt not counted.
        rows: number of rows decoded at a time on all devices; each has a slot.
    """

    max_new_tokens: int
    prompt_length: int
    rows: int

    def holds(self, prompt_length: int, max_new_tokens: int) -> bool:
        """Returns whether a row with this prompt and this many new tokens fits."""
        return prompt_length <= self.prompt_length and max_new_tokens <= self.max_new_tokens


@dataclasses.dataclass(frozen=True)
class PageRing:
    """The pages that hold the keys and values of new tokens.

    Attributes:
        page_length: number of positions in a page.
        pages: number of pages once rows need all of them.
    """

    page_length: int
    pages: int

    @property
    def tokens(self) -> int:
        """Number of new tokens that all pages hold for a row."""
        return self.page_length * self.pages


def page_ring(max_new_tokens: int) -> PageRing:
    """Returns the ring for rows of this many new tokens."""
    least = -(-max_new_tokens // _MOST_PAGES)
    page_length = min(max_new_tokens, -(-least // _BLOCK) * _BLOCK)
    return PageRing(page_length, -(-max_new_tokens // page_length))


def fewer(shape: Bucket, shards: int) -> list[Bucket]:
    """Returns the smaller buckets in which the last rows of a chunk continue, in order of use.

    Args:
        shape: bucket of the chunk.
        shards: number of devices that the slots are split over.
    """
    smaller: list[Bucket] = []
    each = shape.rows // shards
    while len(smaller) < _HALVINGS and each % 2 == 0 and each // 2 >= _FEWEST:
        each //= 2
        smaller.append(dataclasses.replace(shape, rows=shards * each))
    return smaller


def slots_to_keep(running: Sequence[int], count: int, fewer: int, shards: int) -> list[int] | None:
    """Returns the slots to keep: on every shard the running ones, filled up with free ones.

    Args:
        running: slots of running rows.
        count: number of slots.
        fewer: number of slots to keep.
        shards: number of devices that the slots are split over.

    Returns:
        The slots by shard; None if a shard has more running rows than slots to keep.
    """
    each = count // shards
    parts = [
        sorted(range(first, first + each), key=lambda slot: slot not in running)[: fewer // shards]
        for first in range(0, count, each)
    ]
    slots = [slot for part in parts for slot in part]
    return slots if set(running) <= set(slots) else None
