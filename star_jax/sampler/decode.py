"""The decoding loop: pure, static shapes, one program per (rows, prompt length, budget).

Shapes: B rows, P prompt places, N budget in new tokens, V vocabulary, K places of the stop window.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from star_jax.model import cache as kv
from star_jax.model.decoder import Decoder
from star_jax.sampler.select import Selection, select

FIRST_WINDOW = 32  # new tokens the first cache has room for
WINDOW_GROWTH = 1.5  # each further cache is this much longer


@dataclasses.dataclass(frozen=True)
class Stop:
    """When a row is finished, besides its budget.

    Attributes:
        ends: tokens that end a row, such as end-of-text and end-of-turn.
        text: bytes that end a row as soon as they are complete; empty for none.
        token_bytes: [V, M] uint8, the bytes of every token, padded.
        token_lengths: [V] int32, how many of them count.
        vocabulary: tokens of the tokenizer; ids from here to V are padding and never drawn.
    """

    ends: tuple[int, ...]
    text: bytes
    token_bytes: np.ndarray
    token_lengths: np.ndarray
    vocabulary: int


def make_stop(ends: Sequence[int], text: str, token_bytes: list[bytes], vocab: int) -> Stop:
    """Builds the byte table of a tokenizer; ids from `len(token_bytes)` to `vocab` are empty."""
    longest = max(len(piece) for piece in token_bytes)
    table = np.zeros((vocab, longest), np.uint8)
    lengths = np.zeros((vocab,), np.int32)
    for token, piece in enumerate(token_bytes):
        table[token, : len(piece)] = np.frombuffer(piece, np.uint8)
        lengths[token] = len(piece)
    return Stop(tuple(ends), text.encode(), table, lengths, len(token_bytes))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Prompts:
    """One chunk of questions.

    Attributes:
        tokens: [B, P] int32, padded on the left.
        start: [B] int32, the first real place of a row; P marks an empty row.
        keys: [B] random keys, one a row, so that a draw does not depend on the row's neighbours.
    """

    tokens: jax.Array
    start: jax.Array
    keys: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Generated:
    """What the rows wrote.

    Attributes:
        tokens: [B, N] int32, padded with zeros on the right; end-of-text is included.
        length: [B] int32, tokens written.
        finished: [B] bool, stopped by itself; False means truncated by the budget.
    """

    tokens: jax.Array
    length: jax.Array
    finished: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _Loop:
    """Carried from one step to the next.

    Attributes:
        step: [] int32, tokens written so far.
        logits: [B, V] float32, of the next token.
        generated: what is written so far.
        tail: [B, K] uint8, the last bytes written, for the stop string.
        cache: keys and values of prompt and rationale.
    """

    step: jax.Array
    logits: jax.Array
    generated: Generated
    tail: jax.Array
    cache: kv.Cache


def row_keys(seed: jax.Array, number_B: jax.Array) -> jax.Array:
    """The rows' random keys, [B], from their numbers and those in `seed` (run, round, stream)."""
    key = jax.random.key(seed[0])
    for part in seed[1:]:
        key = jax.random.fold_in(key, part)
    return jax.vmap(jax.random.fold_in, (None, 0))(key, number_B)


def decode(
    model: Decoder,
    prompts: Prompts,
    prefix: kv.Prefix | None,
    *,
    budget: int,
    stop: Stop,
    selection: Selection,
    apart: bool = False,
) -> Generated:
    """Writes up to `budget` tokens a row, until every row has met its stop.

    With `apart` the layers are taken out of their stack first: a second copy of the weights, and
    faster on a CPU.

    The cache grows through a few static sizes (`windows`), each with a loop of its own, so that a
    step's attention costs what is filled rather than what might be.
    """
    rows, size = prompts.tokens.shape
    if apart:
        model, prefix = model.apart(), kv.apart(prefix) if prefix else None
    logits, cache = kv.prefill(model, prompts.tokens, prompts.start, prefix)
    empty = prompts.start >= size
    written = Generated(jnp.zeros((rows, budget), jnp.int32), jnp.zeros((rows,), jnp.int32), empty)
    tail = jnp.zeros((rows, max(len(stop.text) - 1, 0)), jnp.uint8)
    loop = _Loop(jnp.int32(0), logits, written, tail, cache)

    def body(loop: _Loop) -> _Loop:
        return _advance(model, loop, prompts.keys, prefix, stop, selection)

    for window in windows(budget):
        loop = dataclasses.replace(loop, cache=kv.grow(loop.cache, size + window))

        def unfinished(loop: _Loop, window: int = window) -> jax.Array:
            return (loop.step < window) & ~jnp.all(loop.generated.finished)

        loop = jax.lax.while_loop(unfinished, body, loop)
    return loop.generated


def windows(budget: int) -> list[int]:
    """The cache sizes a decode passes through, in new tokens; the last is the budget."""
    sizes = [min(FIRST_WINDOW, budget)]
    while sizes[-1] < budget:
        sizes.append(min(int(sizes[-1] * WINDOW_GROWTH), budget))
    return sizes


def _advance(
    model: Decoder,
    loop: _Loop,
    keys_B: jax.Array,
    prefix: kv.Prefix | None,
    stop: Stop,
    selection: Selection,
) -> _Loop:
    """One token for every row that is not finished, and the logits of the one after."""
    keys = jax.vmap(jax.random.fold_in, (0, None))(keys_B, loop.step)
    real = jnp.arange(loop.logits.shape[1]) < stop.vocabulary
    token = select(jnp.where(real, loop.logits, -jnp.inf), keys, selection)
    done = loop.generated.finished
    token = jnp.where(done, 0, token)
    tokens = jax.lax.dynamic_update_slice(loop.generated.tokens, token[:, None], (0, loop.step))
    length = loop.generated.length + ~done
    matched, tail = _match(loop.tail, token, stop)
    ended = jnp.any(token[:, None] == jnp.asarray(stop.ends, jnp.int32), axis=1)
    finished = done | ended | matched
    logits, cache = kv.step(model, token, loop.cache, prefix)
    return _Loop(loop.step + 1, logits, Generated(tokens, length, finished), tail, cache)


def _match(tail_BxK: jax.Array, token_B: jax.Array, stop: Stop) -> tuple[jax.Array, jax.Array]:
    """Does the stop string end inside this token? Exact on bytes, wherever the tokens are cut."""
    if not stop.text:
        return jnp.zeros(token_B.shape, bool), tail_BxK
    kept = tail_BxK.shape[1]
    added = jnp.asarray(stop.token_lengths)[token_B]
    stream = jnp.concatenate((tail_BxK, jnp.asarray(stop.token_bytes)[token_B]), axis=1)
    text = jnp.frombuffer(stop.text, jnp.uint8)
    offsets = jnp.arange(stream.shape[1] - len(stop.text) + 1)
    pieces = stream[:, offsets[:, None] + jnp.arange(len(stop.text))]
    complete = offsets + len(stop.text) <= kept + added[:, None]
    matched = jnp.any(jnp.all(pieces == text, axis=-1) & complete, axis=-1)
    tail = jnp.take_along_axis(stream, added[:, None] + jnp.arange(kept), axis=1)
    return matched, tail
