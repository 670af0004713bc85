"""The fused step under its short name; see `star/fused_step.py`."""

from star_jax.star.fused_step import (
    Attempt,
    PaddedRows,
    Rehearsed,
    StarBatch,
    StarConfig,
    StarMetrics,
    star_step,
)

__all__ = [
    "Attempt",
    "PaddedRows",
    "Rehearsed",
    "StarBatch",
    "StarConfig",
    "StarMetrics",
    "star_step",
]
