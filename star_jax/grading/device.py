"""Right or wrong on the device: token ids -> bytes -> characters -> answer -> the gold one or not.

`grading` is the definition. This says the same of every row of tokens, whatever they spell, for
tasks that have an `AnswerRule`: pure functions of static shapes, to be part of a larger program.
What rows wrote is read by `byte_text`. `grade` has room for what they are likely to write, and for
all they could only where one of them needs it.

Shapes: B rows, N tokens, M bytes there is room for, A bytes of the longest gold answer.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from star_jax.data.token_bytes import TokenBytes
from star_jax.grading import device_latex, device_numbers
from star_jax.grading.device_bytes import (
    NOTHING,
    among,
    first_of,
    last_of,
    occurs,
    pick,
    shifted,
)
from star_jax.grading.device_numbers import Spelling
from star_jax.grading.device_text import (
    BREAKS,
    SPACES,
    Text,
    characters_of,
    is_some,
    letters_in,
    read,
    rooms,
    sizes,
    solid_in,
)
from star_jax.tasks.answer_rule import AnswerRule, Form


class Graded(NamedTuple):
    """What is found of B rows.

    Attributes:
        right: [B] bool, which say the gold answer.
        kept: [B] int32, how many of a row's tokens begin before its text ends.
        ended: [B] bool, see `Text`: such a row came to its end, whatever ended the decoding.
    """

    right: jax.Array
    kept: jax.Array
    ended: jax.Array


def correct(
    rule: AnswerRule, text: Text, gold_BxA: jax.Array, gold_length_B: jax.Array
) -> jax.Array:
    """Which rows say the gold answer, [B] bool; `gold` makes the last two arguments."""
    wanted_BxA, _ = jax.vmap(characters_of)(gold_BxA, gold_length_B)
    characters = text.characters
    if rule.marker:
        characters = jax.vmap(lambda row: _after(row, rule.marker, rule.first))(characters)
    plain = device_latex.plain(characters) if rule.form in _OF_NUMBERS else characters
    return jax.vmap(functools.partial(_correct, rule))(characters, plain, wanted_BxA)


def grade(
    rule: AnswerRule,
    token_bytes: TokenBytes,
    stop_text: bytes,
    tokens_BxN: jax.Array,
    length_B: jax.Array,
    gold_BxA: jax.Array,
    gold_length_B: jax.Array,
) -> Graded:
    """`read`, then `correct`."""

    def within(room: int) -> Graded:
        text = read(tokens_BxN, length_B, token_bytes, stop_text, room, rule.ending)
        written = jnp.arange(tokens_BxN.shape[1]) < length_B[:, None]
        kept = jnp.sum(written & (text.starts < text.length[:, None]), axis=1)
        return Graded(correct(rule, text, gold_BxA, gold_length_B), kept, text.ended)

    usual, most = rooms(token_bytes, tokens_BxN.shape[1])
    if usual == most:
        return within(most)
    longest = jnp.max(jnp.sum(sizes(tokens_BxN, length_B, token_bytes), axis=1))
    return jax.lax.cond(longest <= usual, lambda: within(usual), lambda: within(most))


def gold(answers: Sequence[str], size: int | None = None) -> tuple[NDArray, NDArray]:
    """Gold answers as bytes [B, A] uint8 and their lengths [B] int32.

    An answer that no text can say, with half of a surrogate pair in it, has the length 0, which
    nothing is equal to.

    Args:
        answers: canonical ones, as `Problem.answer` is.
        size: A; None for what the longest takes.

    Raises:
        ValueError: one is longer than `size`.
    """
    pieces = [_encoded(answer) for answer in answers]
    longest = max(map(len, pieces), default=0)
    if size is not None and longest > size:
        raise ValueError(f"an answer of {longest} bytes: {size} are set aside for each")
    table = np.zeros((len(pieces), max(size or longest, 1)), np.uint8)
    for row, piece in zip(table, pieces, strict=True):
        row[: len(piece)] = np.frombuffer(piece, np.uint8)
    return table, np.asarray([len(piece) for piece in pieces], np.int32)


def _encoded(answer: str) -> bytes:
    try:
        return answer.encode()
    except UnicodeEncodeError:
        return b""


# From here on functions are for one row.


def _correct(
    rule: AnswerRule, characters_M: jax.Array, plain_M: jax.Array, wanted_A: jax.Array
) -> jax.Array:
    answer, characters_M = _READERS[rule.form](characters_M, plain_M, rule)
    begin = answer.negative.astype(jnp.int32) + answer.zero
    places = begin + jnp.cumsum(answer.kept) - 1
    same = characters_M == pick(wanted_A, places)
    right = answer.found & (begin + jnp.sum(answer.kept) == jnp.sum(wanted_A != NOTHING))
    right &= (wanted_A[0] != NOTHING) & jnp.all(same | ~answer.kept)
    right &= ~answer.negative | (wanted_A[0] == ord("-"))
    return right & (~answer.zero | (pick(wanted_A, begin - 1) == ord("0")))


def _after(characters_M: jax.Array, marker: str, first: bool) -> jax.Array:
    """What follows a marker, in its place; nothing where there is no marker."""
    marked = occurs(characters_M, marker)
    start = (first_of if first else last_of)(marked) + len(marker)
    counts = jnp.any(marked) & (jnp.arange(len(characters_M)) >= start)
    return jnp.where(counts, characters_M, NOTHING)


# What stands in a row, by the rule's form: the answer, and the row that its letters are taken from.
_Found = tuple[Spelling, jax.Array]
# The row, the same as numbers are looked for in it, and the rule.
_Reader = Callable[[jax.Array, jax.Array, AnswerRule], _Found]


def _digits(characters_M: jax.Array, plain_M: jax.Array, rule: AnswerRule) -> _Found:
    """See `tasks.arithmetic`: digits and spaces, and nothing but line ends after them."""
    del plain_M, rule
    place = jnp.arange(len(characters_M))
    digit = among(characters_M, "0123456789")
    ending = among(characters_M, "\n") & (
        place > last_of(is_some(characters_M) & ~among(characters_M, "\n"))
    )
    others = is_some(characters_M) & ~digit & ~among(characters_M, " ") & ~ending
    kept = digit & (place >= first_of(digit & ~among(characters_M, "0")))
    found = jnp.any(digit) & ~jnp.any(others)
    return Spelling(found, jnp.asarray(False), ~jnp.any(kept), kept), characters_M


def _number_first(characters_M: jax.Array, plain_M: jax.Array, rule: AnswerRule) -> _Found:
    """See `numbers.leading`."""
    del characters_M, rule
    number = device_numbers.find(plain_M, last=False)
    found = number.found & (number.start == first_of(is_some(plain_M)))
    return device_numbers.spell(plain_M, number._replace(found=found)), plain_M


def _last_number(characters_M: jax.Array, plain_M: jax.Array, rule: AnswerRule) -> _Found:
    """See `numbers.last`."""
    del characters_M, rule
    number = device_numbers.find(plain_M, last=True)
    return device_numbers.spell(plain_M, number), plain_M


def _letter_at_end(characters_M: jax.Array, plain_M: jax.Array, rule: AnswerRule) -> _Found:
    """See `tasks.choices`."""
    del plain_M
    place = jnp.arange(len(characters_M))
    named, letters_M = letters_in(characters_M, rule.letters)
    last = last_of(named)
    other = named & (letters_M != pick(letters_M, last))
    broken = among(characters_M, "\n") & (place < last)
    rest = last + 3 + among(pick(characters_M, last + 3), ".")
    more = solid_in(characters_M) & (place >= rest)
    found = (last >= 0) & ~jnp.any(other | broken | more)
    return _letter(found, place == last), letters_M


def _last_letter(characters_M: jax.Array, plain_M: jax.Array, rule: AnswerRule) -> _Found:
    """See `tasks.jsonl`."""
    del plain_M
    named, letters_M = letters_in(characters_M, rule.letters)
    last = last_of(named)
    return _letter(last >= 0, jnp.arange(len(named)) == last), letters_M


def _line(characters_M: jax.Array, plain_M: jax.Array, rule: AnswerRule) -> _Found:
    """See `tasks.jsonl`: `Jsonl.canonical` of the first line."""
    del rule
    place = jnp.arange(len(characters_M))
    first, last = _first_line(characters_M)
    inner = (first <= place) & (place <= last)
    space = inner & among(characters_M, SPACES)
    row_M = jnp.where(space, ord(" "), jnp.where(inner, characters_M, NOTHING))
    words = inner & ~(space & shifted(space, 1, False))

    first, last = _first_line(plain_M)
    plain_M = jnp.where((first <= place) & (place <= last), plain_M, NOTHING)
    number = device_numbers.find(plain_M, last=False)
    solid = solid_in(plain_M)
    percent = first_of(solid & (place >= number.end))
    stop = percent + among(pick(plain_M, percent), "%")
    over = stop + among(pick(plain_M, stop), ".") > last
    is_number = number.found & (number.start == first) & over
    spelled = device_numbers.spell(plain_M, number)
    no = jnp.asarray(False)
    said = Spelling(jnp.any(words), no, no, words)
    found = jax.tree.map(functools.partial(jnp.where, is_number), spelled, said)
    return found, jnp.where(is_number, plain_M, row_M)


def _first_line(characters_M: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Where the first line's words begin, and their last character; M and -1 without any."""
    place = jnp.arange(len(characters_M))
    solid = solid_in(characters_M) & (place < first_of(among(characters_M, BREAKS)))
    return first_of(solid), last_of(solid)


def _letter(found: jax.Array, kept_M: jax.Array) -> Spelling:
    return Spelling(found, jnp.asarray(False), jnp.asarray(False), kept_M)


_OF_NUMBERS: tuple[Form, ...] = ("number first", "last number", "line")
_READERS: dict[Form, _Reader] = {
    "digits": _digits,
    "number first": _number_first,
    "last number": _last_number,
    "letter at the end": _letter_at_end,
    "last letter": _last_letter,
    "line": _line,
}
