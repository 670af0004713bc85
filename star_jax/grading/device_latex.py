"""Rows of characters as numbers are looked for in them, on the device; see `numbers.plain`.

Shapes: B rows of M characters, as in `byte_rows`.
"""

import functools
import string

import jax
import jax.numpy as jnp

from star_jax.grading.device_bytes import NOTHING, among, occurs, shifted
from star_jax.tasks.number_text import FORMS, FULL_WIDTH, LATEX_SIGNS, LATEX_WORDS

_LONGEST = max(map(len, LATEX_WORDS)) + 1  # one more, by which a longer word is another one
_CODE, _CODES = 6, 5  # bits of a letter, letters of a number


def plain(characters_BxM: jax.Array) -> jax.Array:
    """Rows as numbers are looked for in them; see `numbers.plain`.

    LaTeX makes rows shorter. Few have any: where none has, that half of the work is left out.
    """
    mapped = _mapped(characters_BxM)
    latex = jnp.any(among(mapped, "\\{~"))
    return jax.lax.cond(latex, jax.vmap(_without_latex), lambda rows: rows, mapped)


def _mapped(characters: jax.Array) -> jax.Array:
    """Every character as `numbers` reads it."""
    first, last, by = FULL_WIDTH
    wide = (first <= characters) & (characters <= last)
    found = jnp.where(wide, characters - by, characters)
    for form, characters_ in FORMS.items():
        found = jnp.where(among(characters, characters_), ord(form), found)
    return found


def _without_latex(characters_M: jax.Array) -> jax.Array:
    """Commands of LaTeX as single characters, and what they took more than that left out."""
    size, place = len(characters_M), jnp.arange(len(characters_M))
    ahead = functools.partial(shifted, characters_M)
    digit = functools.partial(among, letters=string.digits)
    slash = among(characters_M, "\\")
    found, more = characters_M, jnp.zeros((size,), jnp.int32)  # places that a command goes on for
    said, length = _letters_after(characters_M)
    for form in dict.fromkeys(LATEX_WORDS.values()):
        words = (word for word in LATEX_WORDS if LATEX_WORDS[word] == form)
        here = slash & functools.reduce(jnp.logical_or, (_is_word(said, word) for word in words))
        found = jnp.where(here, ord(form), found)
        more = jnp.where(here, length, more)
    nothing = jnp.zeros((size,), bool)
    for sign, form in LATEX_SIGNS.items():
        here = slash & among(ahead(1), sign)
        found = jnp.where(here, ord(form or sign), found)
        more = jnp.where(here, 1, more)
        nothing |= here & (not form)
    comma = occurs(characters_M, "{,}") & digit(ahead(-1)) & digit(ahead(3))
    nothing |= comma | shifted(comma, -2, False)
    tie = among(characters_M, "~") & digit(ahead(-1)) & digit(ahead(1))
    found = jnp.where(tie, ord(" "), found)
    until = jax.lax.cummax(jnp.where(more > 0, place + more, -1))
    gone = nothing | ((place <= until) & (more == 0))
    place = jnp.where(gone, size, jnp.cumsum(~gone) - 1)
    return jnp.full((size,), NOTHING).at[place].set(found, mode="drop")


def _letters_after(characters_M: jax.Array) -> tuple[list[jax.Array], jax.Array]:
    """The word after every place, as numbers that hold some of its letters each; and its length."""
    said, length = [], jnp.zeros_like(characters_M)
    going = jnp.ones(characters_M.shape, bool)
    for by in range(_LONGEST):
        letter = shifted(characters_M, by + 1)
        going &= among(letter, string.ascii_letters)
        if by % _CODES == 0:
            said.append(jnp.zeros_like(characters_M))
        said[-1] |= jnp.where(going, letter - 64, 0) << _CODE * (by % _CODES)
        length += going
    return said, length


def _is_word(said: list[jax.Array], word: str) -> jax.Array:
    codes = [ord(letter) - 64 for letter in word]
    parts = [codes[by * _CODES : (by + 1) * _CODES] for by in range(len(said))]
    wanted = [sum(code << _CODE * by for by, code in enumerate(part)) for part in parts]
    same = (x == number for x, number in zip(said, wanted, strict=True))
    return functools.reduce(jnp.logical_and, same)
