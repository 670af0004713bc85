"""Rows of characters on the device: what regular expressions ask of a text, for all places at once.

A row is characters_M: M code points, `NOTHING` in the places that do not count. The functions are
for one row, and meant for `jax.vmap`.
"""

import functools

import jax
import jax.numpy as jnp

NOTHING = -1


def among(characters: jax.Array, letters: str) -> jax.Array:
    """Which of the characters are one of these."""
    ranges = (
        characters == first if first == last else (first <= characters) & (characters <= last)
        for first, last in _ranges(letters)
    )
    return functools.reduce(jnp.logical_or, ranges)


def _ranges(letters: str) -> list[tuple[int, int]]:
    """Their code points, from and to."""
    points = {ord(letter) for letter in letters}
    firsts, lasts = ({x for x in points if x + by not in points} for by in (-1, 1))
    return list(zip(sorted(firsts), sorted(lasts), strict=True))


def occurs(characters_M: jax.Array, text: str) -> jax.Array:
    """Where a text begins in the row, [M] bool."""
    here = (shifted(characters_M, by) == ord(char) for by, char in enumerate(text))
    return functools.reduce(jnp.logical_and, here)


def shifted(row_M: jax.Array, by: int, fill: int | bool = NOTHING) -> jax.Array:
    """In every place what stands `by` places after it, or `fill` beyond the row."""
    size = len(row_M)
    by = max(-size, min(by, size))
    edge = jnp.full((abs(by),), fill, row_M.dtype)
    return jnp.concatenate((row_M[by:], edge) if by >= 0 else (edge, row_M[:by]))


def pick(row_M: jax.Array, place: jax.Array) -> jax.Array:
    """The character in a place; `NOTHING` (or False) outside the row."""
    nothing = False if row_M.dtype == bool else NOTHING
    inside = (place >= 0) & (place < len(row_M))
    return jnp.where(inside, row_M[jnp.clip(place, 0, len(row_M) - 1)], nothing)


def first_of(mask_M: jax.Array) -> jax.Array:
    """The first place that is True; M where none is."""
    return jnp.min(jnp.where(mask_M, jnp.arange(len(mask_M)), len(mask_M)))


def last_of(mask_M: jax.Array) -> jax.Array:
    """The last place that is True; -1 where none is."""
    return jnp.max(jnp.where(mask_M, jnp.arange(len(mask_M)), -1))


def latest(marked_M: jax.Array, ended_M: jax.Array) -> jax.Array:
    """Whether there is a mark here or before, and no end of what it marks after it."""
    place = 2 * jnp.arange(len(marked_M))
    return jax.lax.cummax(jnp.where(marked_M, place + 1, jnp.where(ended_M, place, 0))) % 2 == 1


def next_is(wanted_M: jax.Array, met_M: jax.Array) -> jax.Array:
    """Whether the next place that is met, here or after, is a wanted one."""
    place, beyond = 2 * jnp.arange(len(wanted_M)), 2 * len(wanted_M) + 1
    found = jnp.where(met_M, jnp.where(wanted_M, place, place + 1), beyond)
    return jax.lax.cummin(found, reverse=True) % 2 == 0
