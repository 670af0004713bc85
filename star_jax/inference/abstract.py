"""Shapes and shardings of what the programs of sampling take and return.

Shapes: B slots; G groups of prompts, N prompts in each, T tokens.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from star_jax.inference.admission import NewRows, PrefillBatch
from star_jax.inference.decode import Prompts, SlotState
from star_jax.inference.prefill_packing import PrefillBudget
from star_jax.models.kv_cache import Prefix
from star_jax.models.prompt_pool import PromptPool
from star_jax.runtime import sharding

_KV = ("layers", "batch", "kv_heads", None, None)  # of a row: head_dim and length in either order
_PREFIX = ("layers", "kv_heads", "head_dim", "length")


def prefix(mesh: Mesh, shapes: Prefix) -> Prefix:
    """Adds shardings to the shapes of a few-shot prompt's KV cache."""
    return _placed(mesh, shapes, lambda rank: _PREFIX[-rank:] if rank else ())


def slots(mesh: Mesh, shapes: SlotState) -> SlotState:
    """Adds shardings to the shapes of slots."""
    return _placed(mesh, shapes, _row_axes)


def pool(mesh: Mesh, shapes: PromptPool) -> PromptPool:
    """Adds shardings to the shapes of prompts that have been read."""
    return _placed(
        mesh, shapes, lambda rank: ("batch", None, "vocab") if rank == 3 else _row_axes(rank)
    )


def prompts(mesh: Mesh, rows: int, prompt_length: int) -> Prompts:
    """Returns shapes and shardings of `rows` prompts, padded to `prompt_length`."""
    each = sharding.abstract(mesh, (rows,), np.int32, "batch")
    tokens = sharding.abstract(mesh, (rows, prompt_length), np.int32, "batch")
    return Prompts(tokens=tokens, start=each, number=each, seed=seed(mesh))


def prefill_batch(mesh: Mesh, budget: PrefillBudget) -> PrefillBatch:
    """Returns shapes and shardings of packed prompts."""
    token = sharding.abstract(mesh, (budget.groups, budget.tokens), np.int32, "batch")
    each = sharding.abstract(mesh, (budget.groups, budget.rows), np.int32, "batch")
    return PrefillBatch(tokens=token, segments=token, positions=token, end=each, start=each)


def new_rows(mesh: Mesh, budget: PrefillBudget) -> NewRows:
    """Returns shapes and shardings of rows to be admitted."""
    each = sharding.abstract(mesh, (budget.groups, budget.rows), np.int32, "batch")
    return NewRows(seat=each, slot=each, number=each, seed=seed(mesh))


def seed(mesh: Mesh) -> Any:
    """Returns shape and sharding of a random seed."""
    return sharding.abstract(mesh, (3,), np.uint32)


def _row_axes(rank: int) -> tuple[str | None, ...]:
    """Returns the axes of a row's array of this rank."""
    return _KV[-rank:] if rank >= len(_KV) - 1 else ("batch", None)[:rank]


def _placed(mesh: Mesh, tree: Any, axes: Callable[[int], tuple[str | None, ...]]) -> Any:
    """Adds shardings to shapes; `axes` returns the axes of a leaf for its rank."""

    def place(x: Any) -> Any:
        layout = sharding.divisible_sharding(mesh, x.shape, axes(x.ndim))
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=layout)

    return jax.tree.map(place, tree)
