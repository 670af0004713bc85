"""What an update is made of, for the programs that are compiled: its optimizer and its shapes."""

import dataclasses
from typing import Literal

import optax


@dataclasses.dataclass(frozen=True)
class UpdateSpec:
    """One kind of update: its optimizer and the shape of its batches.

    Attributes:
        optimizer: as `make_optimizer` gives it.
        batch_size: packed sequences an update.
        length: tokens a packed sequence.
        micro_batch: most sequences a device works on at a time; more are accumulated. 0: no limit.
        remat: "none", or "blocks" to compute each block a second time for the gradient instead of
            keeping what is in it.
    """

    optimizer: optax.GradientTransformation
    batch_size: int
    length: int
    micro_batch: int
    remat: Literal["none", "blocks"] = "none"

    def accumulation(self, shards: int) -> int:
        """The fewest micro-batches that divide a device's sequences and keep to the limit.

        Args:
            shards: devices that a batch is split over.
        """
        each = self.batch_size // shards
        limit = self.micro_batch or each
        return next(n for n in range(1, each + 1) if each % n == 0 and each // n <= limit)


def padded_rows(rows: int, shards: int, micro_batch: int) -> int:
    """The fewest rows, from `rows` on, that devices share in equal micro-batches.

    Args:
        rows: that there are.
        shards: devices that a batch is split over.
        micro_batch: see `UpdateSpec`.
    """
    each = -(-rows // shards)
    parts = -(-each // (micro_batch or each))
    return shards * parts * -(-each // parts)
