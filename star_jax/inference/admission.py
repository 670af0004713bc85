"""New rows: their prompts are read, then they get slots. Pure functions of static shapes.

`prefill` reads each prompt once, into a pool. `admit` puts rows of the pool's prompts into slots
and writes the first token of each; it may be called many times for one pool, since many rows may
share a prompt.

Shapes: B slots, P prompt positions; prompts in G groups of T tokens, at most N in each, and as many
new rows of a group at a time.
"""

import dataclasses

import jax
import jax.numpy as jnp

from star_jax.inference import decode
from star_jax.inference.decode import SlotState
from star_jax.inference.sampling import SamplingParams
from star_jax.inference.stop_rule import StopRule
from star_jax.models import kv_cache, prompt_pool
from star_jax.models.prompt_pool import PromptPool
from star_jax.models.transformer import Decoder


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PrefillBatch:
    """Prompts packed into G groups of T tokens, at most N prompts in each.

    Attributes:
        tokens: token ids [G, T] int32, padded on the right.
        segments: segment ids [G, T] int32, different in every prompt of a group.
        positions: positions [G, T] int32, from 0 in every prompt.
        end: index [G, N] int32 after a prompt's last token; 0: there is no such prompt.
        start: first position [G, N] int32 when padded on the left to P; P: there is no such prompt.
    """

    tokens: jax.Array
    segments: jax.Array
    positions: jax.Array
    end: jax.Array
    start: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class NewRows:
    """Rows to be admitted.

    Attributes:
        seat: index [G, N] int32 of each row's prompt in its group of the pool.
        slot: slot [G, N] int32 of each row; B or more for none.
        number: number [G, N] int32 of each row, as in `decode.Prompts`.
        seed: random seed [3] uint32, as in `decode.Prompts`.
    """

    seat: jax.Array
    slot: jax.Array
    number: jax.Array
    seed: jax.Array


def prefill(
    model: Decoder, batch: PrefillBatch, prefix: kv_cache.Prefix | None, prompt_length: int
) -> PromptPool:
    """Reads the prompts of a batch; `prompt_length` is P."""
    return prompt_pool.read(
        model,
        batch.tokens,
        batch.segments,
        batch.positions,
        batch.end,
        batch.start,
        prompt_length,
        prefix,
    )


def admit(
    slots: SlotState,
    pool: PromptPool,
    new: NewRows,
    *,
    stop: StopRule,
    selection: SamplingParams,
) -> SlotState:
    """Puts new rows into their slots and writes the first token of each."""
    number, slot = new.number.reshape(-1), new.slot.reshape(-1)
    cache = prompt_pool.copy(slots.cache, pool, new.seat, slot)
    logits, budget = prompt_pool.logits_after(pool, new.seat), slots.rows.generated.tokens.shape[1]
    start = jnp.take_along_axis(pool.start, new.seat, axis=1).reshape(-1)
    empty = start >= cache.prompt.positions
    first = decode.unwritten(number, empty, max_new_tokens=budget, stop=stop)
    first = decode.write(first, logits, decode.row_keys(new.seed, number), stop, selection)

    def put(old: jax.Array, x: jax.Array) -> jax.Array:
        return old.at[slot].set(x, mode="drop")

    written = jax.tree.map(put, slots.rows, first)
    return dataclasses.replace(slots, rows=written, cache=cache)
