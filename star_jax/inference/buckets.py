"""The static sizes that sampling is compiled for: of rings and slots."""

import dataclasses
from collections.abc import Sequence

_BLOCK = 64  # the places of a ring's block are a multiple of it
_MOST_BLOCKS = 4  # of a ring
_HALVINGS = 2  # times that slots become half as many, once no row waits for one
_FEWEST = 8  # slots that each shard keeps at least


@dataclasses.dataclass(frozen=True, order=True)
class Bucket:
    """The static shape of the programs that some rows are sampled with.

    Attributes:
        max_new_tokens: of a row.
        prompt_length: most tokens of a prompt, few-shot prompt not counted.
        rows: decoded at a time on all devices; each has a slot.
    """

    max_new_tokens: int
    prompt_length: int
    rows: int

    def holds(self, prompt_length: int, max_new_tokens: int) -> bool:
        """Whether a row of this prompt and max_new_tokens fits."""
        return prompt_length <= self.prompt_length and max_new_tokens <= self.max_new_tokens


@dataclasses.dataclass(frozen=True)
class PageRing:
    """The blocks that new tokens are kept in.

    Attributes:
        places: of a block.
        blocks: once rows need them all.
    """

    page_length: int
    pages: int

    @property
    def tokens(self) -> int:
        """That a row has room for, once they are all there."""
        return self.page_length * self.pages


def page_ring(max_new_tokens: int) -> PageRing:
    """The blocks for so many new tokens."""
    most = -(-max_new_tokens // _MOST_BLOCKS)
    places = min(max_new_tokens, -(-most // _BLOCK) * _BLOCK)
    return PageRing(places, -(-max_new_tokens // places))


def fewer(shape: Bucket, shards: int) -> list[Bucket]:
    """The shapes that the last rows of a chunk go on in, one after the other."""
    found: list[Bucket] = []
    each = shape.rows // shards
    while len(found) < _HALVINGS and each % 2 == 0 and each // 2 >= _FEWEST:
        each //= 2
        found.append(dataclasses.replace(shape, rows=shards * each))
    return found


def kept(going: Sequence[int], count: int, fewer: int, shards: int) -> list[int]:
    """Which slots are kept where there are `fewer`: of every shard those that go on, and others.

    None, where a shard has more that go on than it keeps.
    """
    each = count // shards
    parts = [
        sorted(range(first, first + each), key=lambda place: place not in going)[: fewer // shards]
        for first in range(0, count, each)
    ]
    found = [place for part in parts for place in part]
    return found if set(going) <= set(found) else []
