"""Decodes rows of tokens on the device: token ids -> bytes -> characters, up to the text's end.

Bytes are decoded to characters as Python does it. So rules about characters are the same as on the
host: white space, line breaks and currency signs are those of Unicode.

The work grows with the bytes, and few tokens are as long as the longest; see `rooms`.

Shapes: B rows, N tokens, M bytes of a row's buffer.
"""

import dataclasses
import functools
import math
import string

import jax
import jax.numpy as jnp
import numpy as np

from star_jax.data.token_bytes import TokenBytes
from star_jax.grading.device_bytes import (
    NOTHING,
    among,
    first_of,
    last_of,
    next_is,
    occurs,
    shifted,
)
from star_jax.tasks.answer_rule import DIGITS, Ending

SPACES = "".join(char for char in map(chr, range(0x3001)) if char.isspace())
BREAKS = "".join(char for char in SPACES if len(f"{char}x".splitlines()) == 2)
_REPLACEMENT = 0xFFFD
_LIKELY = 2  # bytes per token of long rows, in units of the vocabulary's mean token


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Text:
    """The texts of rows.

    Attributes:
        bytes: [B, M] uint8, bytes of all tokens, padded with zeros.
        length: [B] int32, bytes before the end: the stop text or `Ending`, and white space before.
        starts: [B, N] int32, position of each token's first byte.
        characters: [B, M] int32, code points of the first `length` bytes; -1 after them.
        ended: [B] bool, True if the row goes on after the end by `Ending`.
    """

    bytes: jax.Array
    length: jax.Array
    starts: jax.Array
    characters: jax.Array
    ended: jax.Array


def read(
    tokens_BxN: jax.Array,
    length_B: jax.Array,
    token_bytes: TokenBytes,
    stop_text: bytes,
    room: int,
    ending: Ending | None = None,
) -> Text:
    """Decodes rows up to the stop text or the end of the completion.

    Args:
        tokens_BxN: token ids.
        length_B: number of tokens of each row.
        token_bytes: bytes of the tokenizer's tokens.
        stop_text: text that ends a completion, in UTF-8; empty for none.
        room: M, at least the bytes of every row; see `rooms`.
        ending: rule for the end of a completion if the model goes on; None: it has no such end.
    """
    one = functools.partial(
        _read,
        token_bytes=token_bytes,
        stop_text=stop_text.decode(),
        room=room,
        ending=ending or Ending(),
    )
    return jax.vmap(one)(tokens_BxN, sizes(tokens_BxN, length_B, token_bytes))


def rooms(token_bytes: TokenBytes, count: int) -> tuple[int, int]:
    """Returns the bytes that `count` tokens likely have at most, and the most they can have."""
    mean = float(np.mean(token_bytes.lengths[: token_bytes.count]))
    most = count * token_bytes.table.shape[1]
    return min(math.ceil(_LIKELY * mean * count), most), most


def is_some(characters_M: jax.Array) -> jax.Array:
    """Returns which positions have a character."""
    return characters_M != NOTHING


def solid_in(characters_M: jax.Array) -> jax.Array:
    """Returns which positions have a character that is no white space."""
    return is_some(characters_M) & ~among(characters_M, SPACES)


def letters_in(characters_M: jax.Array, letters: str) -> tuple[jax.Array, jax.Array]:
    """Returns the positions of one of `letters` in parentheses, and the letters in lower case.

    The position is that of the "(".
    """
    letter = shifted(characters_M, 1)
    named = among(characters_M, "(") & among(letter, letters) & among(shifted(characters_M, 2), ")")
    return named, jnp.where(among(letter, string.ascii_uppercase), letter + 32, letter)


def sizes(tokens_BxN: jax.Array, length_B: jax.Array, token_bytes: TokenBytes) -> jax.Array:
    """Returns the number of bytes of each row's tokens, [B, N]; 0 after the row's end."""
    counts = jnp.arange(tokens_BxN.shape[1]) < length_B[:, None]
    return jnp.where(counts, jnp.asarray(token_bytes.lengths)[tokens_BxN], 0)


# The functions below are for one row.


def _read(
    tokens_N: jax.Array,
    sizes_N: jax.Array,
    *,
    token_bytes: TokenBytes,
    stop_text: str,
    room: int,
    ending: Ending,
) -> Text:
    ends_N = jnp.cumsum(sizes_N)
    starts_N, total = ends_N - sizes_N, ends_N[-1]
    position_M = jnp.arange(room)
    # Of the tokens that begin at a position, only the last can have bytes.
    token_M = jnp.cumsum(jnp.zeros((room,), jnp.int32).at[starts_N].add(1, mode="drop")) - 1
    bytes_M = jnp.asarray(token_bytes.table)[tokens_N[token_M], position_M - starts_N[token_M]]
    bytes_M = jnp.where(position_M < total, bytes_M, 0)
    characters_M, rank_M = characters_of(bytes_M, total)
    characters_M = _up_to_stop(characters_M, stop_text) if stop_text else characters_M
    characters_M, ended = _up_to_ending(characters_M, ending)
    end = last_of(characters_M != NOTHING) + 1
    written = jnp.minimum(first_of(rank_M == end), total)
    return Text(bytes_M, written, starts_N, characters_M, ended)


def _up_to_stop(characters_M: jax.Array, stop: str) -> jax.Array:
    """Removes the stop text, everything after it, and the white space before it."""
    return _stripped(characters_M, first_of(occurs(characters_M, stop)))


def _up_to_ending(characters_M: jax.Array, ending: Ending) -> tuple[jax.Array, jax.Array]:
    """Returns the row cut as in `Ending.cut`, and whether there was anything to cut."""
    size, position = jnp.sum(is_some(characters_M)), jnp.arange(len(characters_M))
    solid = solid_in(characters_M)
    end = size
    for opening in ending.openings:
        here = occurs(characters_M, f"\n{opening}") & (position > first_of(solid))
        end = jnp.minimum(end, first_of(here))
    if ending.marker:
        broken = among(characters_M, BREAKS)
        after = shifted(_answers(characters_M, solid, broken, ending), len(ending.marker), False)
        start = first_of(occurs(characters_M, ending.marker) & after) + len(ending.marker)
        end = jnp.minimum(end, first_of(broken & (position >= start)))
    ended = end < size
    return jnp.where(ended, _stripped(characters_M, end), characters_M), ended


def _answers(
    characters_M: jax.Array, solid_M: jax.Array, broken_M: jax.Array, ending: Ending
) -> jax.Array:
    """Returns whether the rest of the line from each position is an answer; see `Ending`."""
    if ending.letters:
        blank = ~next_is(solid_M, solid_M | broken_M)
        named, _ = letters_in(characters_M, ending.letters)
        point = shifted(among(characters_M, "."), 3, False)
        named &= shifted(blank, 3, True) | (point & shifted(blank, 4, True))
        return next_is(named, named | broken_M)
    if ending.number:
        digit = among(characters_M, DIGITS)
        return next_is(digit, digit | broken_M | among(characters_M, string.ascii_letters))
    return next_is(solid_M, solid_M | broken_M)


def _stripped(characters_M: jax.Array, end: jax.Array) -> jax.Array:
    """Returns the characters before `end`, without trailing white space."""
    position = jnp.arange(len(characters_M))
    last = last_of(solid_in(characters_M) & (position < end))
    return jnp.where(position <= last, characters_M, NOTHING)


def characters_of(bytes_M: jax.Array, length: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Decodes UTF-8 as `bytes.decode(errors="replace")` does.

    A sequence that breaks off or is invalid gives one U+FFFD for its valid part.

    Returns:
        Code points [M], and for each byte the index [M] of the character that it begins; M for a
        byte that begins none.
    """
    size = len(bytes_M)
    position = jnp.arange(size)
    lead = jnp.where(position < length, bytes_M.astype(jnp.int32), NOTHING)
    second, third, fourth = (shifted(lead, by) for by in (1, 2, 3))
    least = jnp.where(lead == 0xE0, 0xA0, jnp.where(lead == 0xF0, 0x90, 0x80))
    most = jnp.where(lead == 0xED, 0x9F, jnp.where(lead == 0xF4, 0x8F, 0xBF))
    long2, long3, long4 = (lead >= 0xC2) & (lead <= 0xF4), lead >= 0xE0, lead >= 0xF0
    goes2 = long2 & (least <= second) & (second <= most)
    goes3 = goes2 & long3 & (third >> 6 == 0b10)
    goes4 = goes3 & long4 & (fourth >> 6 == 0b10)
    continues = shifted(goes2, -1, False) | shifted(goes3, -2, False) | shifted(goes4, -3, False)
    point2 = (lead & 0x1F) << 6 | (second & 0x3F)
    point3 = (lead & 0xF) << 12 | (second & 0x3F) << 6 | (third & 0x3F)
    point4 = (lead & 7) << 18 | (second & 0x3F) << 12 | (third & 0x3F) << 6 | (fourth & 0x3F)
    point = jnp.where(goes2 & ~long3, point2, _REPLACEMENT)
    point = jnp.where(goes3 & ~long4, point3, jnp.where(goes4, point4, point))
    point = jnp.where(lead < 0x80, lead, point)
    begins = (lead != NOTHING) & ~continues
    rank = jnp.where(begins, jnp.cumsum(begins) - 1, size)
    return jnp.full((size,), NOTHING).at[rank].set(point, mode="drop"), rank
