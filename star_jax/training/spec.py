"""The optimizer and the shapes that an update is compiled for."""

import dataclasses
from typing import Literal

import optax


@dataclasses.dataclass(frozen=True)
class UpdateSpec:
    """One kind of update: its optimizer and the shape of its batches.

    Attributes:
        optimizer: gradient transformation, from `make_optimizer`.
        batch_size: number of packed sequences in an update.
        length: number of tokens in a packed sequence.
        micro_batch: most sequences that a device computes at a time; the gradients of more are
            accumulated. 0: no limit.
        remat: gradient checkpointing: "none", or "blocks" to compute each block a second time for
            the gradient instead of storing its activations.
    """

    optimizer: optax.GradientTransformation
    batch_size: int
    length: int
    micro_batch: int
    remat: Literal["none", "blocks"] = "none"

    def accumulation(self, shards: int) -> int:
        """Returns the fewest micro-batches that divide a device's sequences and obey the limit.

        Args:
            shards: number of devices that a batch is split over.
        """
        each = self.batch_size // shards
        limit = self.micro_batch or each
        return next(n for n in range(1, each + 1) if each % n == 0 and each // n <= limit)


def padded_rows(rows: int, shards: int, micro_batch: int) -> int:
    """Returns the least number of rows >= `rows` that makes equal micro-batches on all devices.

    Args:
        rows: number of rows to pad.
        shards: number of devices that a batch is split over.
        micro_batch: most rows that a device computes at a time; 0: no limit (see `UpdateSpec`).
    """
    each = -(-rows // shards)
    parts = -(-each // (micro_batch or each))
    return shards * parts * -(-each // parts)
