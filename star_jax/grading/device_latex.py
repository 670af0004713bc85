"""Replaces signs of Unicode and LaTeX by their plain forms on the device; see `number_text.plain`.

Shapes: B rows of M characters, as in `device_bytes`.
"""

import functools
import string

import jax
import jax.numpy as jnp

from star_jax.grading.device_bytes import NOTHING, among, occurs, shifted
from star_jax.tasks.number_text import FORMS, FULL_WIDTH, LATEX_SIGNS, LATEX_WORDS

_LONGEST = max(map(len, LATEX_WORDS)) + 1  # one more letter, which tells a longer word apart
_CODE, _CODES = 6, 5  # bits of a letter, letters of a number


def plain(characters_BxM: jax.Array) -> jax.Array:
    """Returns rows [B, M] in the plain form of `number_text.plain`.

    Removing LaTeX makes rows shorter. Few rows have any LaTeX. If none has, this half of the work
    is skipped.
    """
    mapped = _mapped(characters_BxM)
    latex = jnp.any(among(mapped, "\\{~"))
    return jax.lax.cond(latex, jax.vmap(_without_latex), lambda rows: rows, mapped)


def _mapped(characters: jax.Array) -> jax.Array:
    """Replaces every character of Unicode by its plain form in `number_text`."""
    first, last, by = FULL_WIDTH
    wide = (first <= characters) & (characters <= last)
    mapped = jnp.where(wide, characters - by, characters)
    for form, characters_ in FORMS.items():
        mapped = jnp.where(among(characters, characters_), ord(form), mapped)
    return mapped


def _without_latex(characters_M: jax.Array) -> jax.Array:
    """Replaces commands of LaTeX by single characters, and removes the rest of each command."""
    size, position = len(characters_M), jnp.arange(len(characters_M))
    ahead = functools.partial(shifted, characters_M)
    digit = functools.partial(among, letters=string.digits)
    slash = among(characters_M, "\\")
    # `more` is the number of characters of a command after its first.
    plain_M, more = characters_M, jnp.zeros((size,), jnp.int32)
    codes, length = _letters_after(characters_M)
    for form in dict.fromkeys(LATEX_WORDS.values()):
        words = (word for word in LATEX_WORDS if LATEX_WORDS[word] == form)
        here = slash & functools.reduce(jnp.logical_or, (_is_word(codes, word) for word in words))
        plain_M = jnp.where(here, ord(form), plain_M)
        more = jnp.where(here, length, more)
    dropped = jnp.zeros((size,), bool)
    for sign, form in LATEX_SIGNS.items():
        here = slash & among(ahead(1), sign)
        plain_M = jnp.where(here, ord(form or sign), plain_M)
        more = jnp.where(here, 1, more)
        dropped |= here & (not form)
    comma = occurs(characters_M, "{,}") & digit(ahead(-1)) & digit(ahead(3))
    dropped |= comma | shifted(comma, -2, False)
    tie = among(characters_M, "~") & digit(ahead(-1)) & digit(ahead(1))
    plain_M = jnp.where(tie, ord(" "), plain_M)
    until = jax.lax.cummax(jnp.where(more > 0, position + more, -1))
    dropped |= (position <= until) & (more == 0)
    target = jnp.where(dropped, size, jnp.cumsum(~dropped) - 1)
    return jnp.full((size,), NOTHING).at[target].set(plain_M, mode="drop")


def _letters_after(characters_M: jax.Array) -> tuple[list[jax.Array], jax.Array]:
    """Returns the word after every position, as integers of `_CODES` letters, and its length."""
    codes, length = [], jnp.zeros_like(characters_M)
    inside = jnp.ones(characters_M.shape, bool)
    for by in range(_LONGEST):
        letter = shifted(characters_M, by + 1)
        inside &= among(letter, string.ascii_letters)
        if by % _CODES == 0:
            codes.append(jnp.zeros_like(characters_M))
        codes[-1] |= jnp.where(inside, letter - 64, 0) << _CODE * (by % _CODES)
        length += inside
    return codes, length


def _is_word(codes: list[jax.Array], word: str) -> jax.Array:
    letters = [ord(letter) - 64 for letter in word]
    parts = [letters[by * _CODES : (by + 1) * _CODES] for by in range(len(codes))]
    word_codes = [sum(code << _CODE * by for by, code in enumerate(part)) for part in parts]
    same = (x == number for x, number in zip(codes, word_codes, strict=True))
    return functools.reduce(jnp.logical_and, same)
