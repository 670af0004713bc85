"""What an update is made of, for the programs that are compiled: its optimizer and its shapes."""

import dataclasses
from typing import Literal

import optax

from star_jax.inference.scheduler import Bucket
from star_jax.tasks.answer_rule import AnswerRule


@dataclasses.dataclass(frozen=True)
class UpdateSpec:
    """One kind of update: its optimizer and the shape of its batches.

    Attributes:
        optimizer: as `train.make_optimizer` gives it.
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
        micro_batch: see `Learning`.
    """
    each = -(-rows // shards)
    parts = -(-each // (micro_batch or each))
    return shards * parts * -(-each // parts)


@dataclasses.dataclass(frozen=True)
class FusedSpec:
    """The fused step (`star/fused_step.py`), in place of the update called "train".

    Attributes:
        shape: questions a step, places for each of their prompts, new tokens.
        answer_bytes: bytes of the longest gold answer.
        rule: how an answer is found in what was written.
        eos: token that ends a document to train on.
        again: rows of an update besides its questions: those trained on again with their hint, and
            what fills them up (`filled`).
        refresh_every: see `StarConfig`.
    """

    bucket: Bucket
    answer_bytes: int
    rule: AnswerRule
    eos: int
    again: int = 0
    refresh_every: int = 0
