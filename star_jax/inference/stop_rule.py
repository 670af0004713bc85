"""The rule that ends a row: a token, or a text whose bytes are matched as they are written.

Shapes: B rows, V vocabulary, M bytes of the longest token, K bytes of the stop text but one.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from star_jax.data.token_bytes import TokenBytes, make_token_bytes


@dataclasses.dataclass(frozen=True)
class StopRule:
    """The rule that ends a row before `max_new_tokens`.

    Attributes:
        ends: token ids that end a row, such as end-of-text and end-of-turn.
        text: bytes that end a row as soon as they are complete; empty for none.
        token_bytes: bytes of the tokenizer's tokens; ids beyond these are never drawn.
    """

    ends: tuple[int, ...]
    text: bytes
    token_bytes: TokenBytes


def make_stop_rule(
    ends: Sequence[int], text: str, token_bytes: Sequence[bytes], vocab: int
) -> StopRule:
    """Makes the rule for an embedding of `vocab` rows; `token_bytes` are of the first rows."""
    return StopRule(tuple(ends), text.encode(), make_token_bytes(token_bytes, vocab))


def match(tail_BxK: jax.Array, token_B: jax.Array, stop: StopRule) -> tuple[jax.Array, jax.Array]:
    """Matches the stop text, exactly on bytes, wherever it is cut into tokens.

    Args:
        tail_BxK: last bytes that each row has written, uint8.
        token_B: token that each row writes, int32.
        stop: rule that ends rows.

    Returns:
        Whether the stop text ends inside the token, [B] bool, and the new tail, [B, K] uint8.
    """
    if not stop.text:
        return jnp.zeros(token_B.shape, bool), tail_BxK
    length = tail_BxK.shape[1]
    added = jnp.asarray(stop.token_bytes.lengths)[token_B]
    stream = jnp.concatenate((tail_BxK, jnp.asarray(stop.token_bytes.table)[token_B]), axis=1)
    text = jnp.frombuffer(stop.text, jnp.uint8)
    offsets = jnp.arange(stream.shape[1] - len(stop.text) + 1)
    pieces = stream[:, offsets[:, None] + jnp.arange(len(stop.text))]
    complete = offsets + len(stop.text) <= length + added[:, None]
    matched = jnp.any(jnp.all(pieces == text, axis=-1) & complete, axis=-1)
    tail = jnp.take_along_axis(stream, added[:, None] + jnp.arange(length), axis=1)
    return matched, tail
