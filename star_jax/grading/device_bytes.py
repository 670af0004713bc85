"""Array operations on rows of characters that replace regular expressions on the device.

A row is characters_M: M code points, `NOTHING` at the positions that do not count. Each function is
for all positions of one row, and meant for `jax.vmap`.
"""

import functools

import jax
import jax.numpy as jnp

NOTHING = -1


def among(characters: jax.Array, letters: str) -> jax.Array:
    """Returns which of the characters are among `letters`, bool of the same shape."""
    ranges = (
        characters == first if first == last else (first <= characters) & (characters <= last)
        for first, last in _ranges(letters)
    )
    return functools.reduce(jnp.logical_or, ranges)


def _ranges(letters: str) -> list[tuple[int, int]]:
    """Returns the ranges of the letters' code points, as (first, last)."""
    points = {ord(letter) for letter in letters}
    firsts, lasts = ({x for x in points if x + by not in points} for by in (-1, 1))
    return list(zip(sorted(firsts), sorted(lasts), strict=True))


def occurs(characters_M: jax.Array, text: str) -> jax.Array:
    """Returns the positions at which a text begins in the row, [M] bool."""
    here = (shifted(characters_M, by) == ord(char) for by, char in enumerate(text))
    return functools.reduce(jnp.logical_and, here)


def shifted(row_M: jax.Array, by: int, fill: int | bool = NOTHING) -> jax.Array:
    """Returns for every position the element `by` positions after it; `fill` beyond the row."""
    size = len(row_M)
    by = max(-size, min(by, size))
    edge = jnp.full((abs(by),), fill, row_M.dtype)
    return jnp.concatenate((row_M[by:], edge) if by >= 0 else (edge, row_M[:by]))


def pick(row_M: jax.Array, place: jax.Array) -> jax.Array:
    """Returns the elements at the positions `place`; `NOTHING` (or False) outside the row."""
    nothing = False if row_M.dtype == bool else NOTHING
    inside = (place >= 0) & (place < len(row_M))
    return jnp.where(inside, row_M[jnp.clip(place, 0, len(row_M) - 1)], nothing)


def first_of(mask_M: jax.Array) -> jax.Array:
    """Returns the first position that is True; M if none is."""
    return jnp.min(jnp.where(mask_M, jnp.arange(len(mask_M)), len(mask_M)))


def last_of(mask_M: jax.Array) -> jax.Array:
    """Returns the last position that is True; -1 if none is."""
    return jnp.max(jnp.where(mask_M, jnp.arange(len(mask_M)), -1))


def latest(marked_M: jax.Array, ended_M: jax.Array) -> jax.Array:
    """Returns whether the latest mark, at or before each position, has no end after it; [M]."""
    position = 2 * jnp.arange(len(marked_M))
    ends = jnp.where(ended_M, position, 0)
    return jax.lax.cummax(jnp.where(marked_M, position + 1, ends)) % 2 == 1


def next_is(wanted_M: jax.Array, met_M: jax.Array) -> jax.Array:
    """Returns whether the next position with `met_M`, at or after each position, is wanted; [M]."""
    position, beyond = 2 * jnp.arange(len(wanted_M)), 2 * len(wanted_M) + 1
    code = jnp.where(met_M, jnp.where(wanted_M, position, position + 1), beyond)
    return jax.lax.cummin(code, reverse=True) % 2 == 0
