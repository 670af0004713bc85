"""Grades rows on the device: token ids -> bytes -> characters -> answer -> right or wrong.

`grade.grade` is the definition. These functions give the same grade for any row of tokens, for
tasks that have an `AnswerRule`. They are pure, with static shapes, to be part of a larger program.
`device_text` decodes the rows. `grade` uses as many bytes as rows are likely to need, and the most
that they can have only if a row needs them.

Shapes: B rows, N tokens, M bytes of a row's buffer, A bytes of the longest gold answer.
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
    """The grades of B rows.

    Attributes:
        right: [B] bool, True for rows with the gold answer.
        length: [B] int32, number of a row's tokens that begin before its text ends.
        ended: [B] bool, as in `Text`: such a row is complete, even if decoding truncated it.
    """

    right: jax.Array
    length: jax.Array
    ended: jax.Array


def correct(
    rule: AnswerRule, text: Text, gold_BxA: jax.Array, gold_length_B: jax.Array
) -> jax.Array:
    """Returns which rows have the gold answer, [B] bool; `gold` makes the last two arguments."""
    answer_BxA, _ = jax.vmap(characters_of)(gold_BxA, gold_length_B)
    characters = text.characters
    if rule.marker:
        characters = jax.vmap(lambda row: _after(row, rule.marker, rule.first))(characters)
    plain = device_latex.plain(characters) if rule.form in _OF_NUMBERS else characters
    return jax.vmap(functools.partial(_correct, rule))(characters, plain, answer_BxA)


def grade(
    rule: AnswerRule,
    token_bytes: TokenBytes,
    stop_text: bytes,
    tokens_BxN: jax.Array,
    length_B: jax.Array,
    gold_BxA: jax.Array,
    gold_length_B: jax.Array,
) -> Graded:
    """Reads the text of B rows, and grades it: `read`, then `correct`.

    Args:
        rule: rule by which the answer is found.
        token_bytes: bytes of the tokenizer's tokens.
        stop_text: text that ends a completion, in UTF-8; empty for none.
        tokens_BxN: token ids.
        length_B: number of tokens of each row.
        gold_BxA: bytes of the gold answers, from `gold`.
        gold_length_B: their lengths in bytes, from `gold`.
    """

    def within(room: int) -> Graded:
        text = read(tokens_BxN, length_B, token_bytes, stop_text, room, rule.ending)
        written = jnp.arange(tokens_BxN.shape[1]) < length_B[:, None]
        length = jnp.sum(written & (text.starts < text.length[:, None]), axis=1)
        return Graded(correct(rule, text, gold_BxA, gold_length_B), length, text.ended)

    likely, most = rooms(token_bytes, tokens_BxN.shape[1])
    if likely == most:
        return within(most)
    longest = jnp.max(jnp.sum(sizes(tokens_BxN, length_B, token_bytes), axis=1))
    return jax.lax.cond(longest <= likely, lambda: within(likely), lambda: within(most))


def gold(answers: Sequence[str], size: int | None = None) -> tuple[NDArray, NDArray]:
    """Returns gold answers as bytes [B, A] uint8 and their lengths [B] int32.

    An answer with half of a surrogate pair cannot occur in a text. It gets the length 0, which no
    row matches.

    Args:
        answers: canonical answers, as in `Problem.answer`.
        size: A; None for the length of the longest answer.

    Raises:
        ValueError: an answer is longer than `size`.
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


# The functions below are for one row.


def _correct(
    rule: AnswerRule, characters_M: jax.Array, plain_M: jax.Array, answer_A: jax.Array
) -> jax.Array:
    spelling, characters_M = _READERS[rule.form](characters_M, plain_M, rule)
    begin = spelling.negative.astype(jnp.int32) + spelling.zero
    positions = begin + jnp.cumsum(spelling.kept) - 1
    same = characters_M == pick(answer_A, positions)
    right = spelling.found & (begin + jnp.sum(spelling.kept) == jnp.sum(answer_A != NOTHING))
    right &= (answer_A[0] != NOTHING) & jnp.all(same | ~spelling.kept)
    right &= ~spelling.negative | (answer_A[0] == ord("-"))
    return right & (~spelling.zero | (pick(answer_A, begin - 1) == ord("0")))


def _after(characters_M: jax.Array, marker: str, first: bool) -> jax.Array:
    """Returns the row with `NOTHING` up to the marker's end; all `NOTHING` without a marker."""
    marked = occurs(characters_M, marker)
    start = (first_of if first else last_of)(marked) + len(marker)
    counts = jnp.any(marked) & (jnp.arange(len(characters_M)) >= start)
    return jnp.where(counts, characters_M, NOTHING)


# The answer's spelling, and the row that its characters are in.
_Answer = tuple[Spelling, jax.Array]
# The arguments are the row, its plain form (see `device_latex.plain`), and the rule.
_Reader = Callable[[jax.Array, jax.Array, AnswerRule], _Answer]


def _digits(characters_M: jax.Array, plain_M: jax.Array, rule: AnswerRule) -> _Answer:
    """Finds the answer of `tasks.arithmetic`: digits and spaces, then nothing but line ends."""
    del plain_M, rule
    position = jnp.arange(len(characters_M))
    digit = among(characters_M, "0123456789")
    ending = among(characters_M, "\n") & (
        position > last_of(is_some(characters_M) & ~among(characters_M, "\n"))
    )
    others = is_some(characters_M) & ~digit & ~among(characters_M, " ") & ~ending
    kept = digit & (position >= first_of(digit & ~among(characters_M, "0")))
    found = jnp.any(digit) & ~jnp.any(others)
    spelling = Spelling(found=found, negative=jnp.asarray(False), zero=~jnp.any(kept), kept=kept)
    return spelling, characters_M


def _number_first(characters_M: jax.Array, plain_M: jax.Array, rule: AnswerRule) -> _Answer:
    """Finds the number that `number_text.leading` finds."""
    del characters_M, rule
    number = device_numbers.find(plain_M, last=False)
    found = number.found & (number.start == first_of(is_some(plain_M)))
    return device_numbers.spell(plain_M, number._replace(found=found)), plain_M


def _last_number(characters_M: jax.Array, plain_M: jax.Array, rule: AnswerRule) -> _Answer:
    """Finds the number that `number_text.last` finds."""
    del characters_M, rule
    number = device_numbers.find(plain_M, last=True)
    return device_numbers.spell(plain_M, number), plain_M


def _letter_at_end(characters_M: jax.Array, plain_M: jax.Array, rule: AnswerRule) -> _Answer:
    """Finds the letter that `tasks.multiple_choice.text.answer` finds."""
    del plain_M
    position = jnp.arange(len(characters_M))
    named, letters_M = letters_in(characters_M, rule.letters)
    last = last_of(named)
    other = named & (letters_M != pick(letters_M, last))
    broken = among(characters_M, "\n") & (position < last)
    rest = last + 3 + among(pick(characters_M, last + 3), ".")
    more = solid_in(characters_M) & (position >= rest)
    found = (last >= 0) & ~jnp.any(other | broken | more)
    return _letter(found, position == last), letters_M


def _last_letter(characters_M: jax.Array, plain_M: jax.Array, rule: AnswerRule) -> _Answer:
    """Finds the letter of `tasks.jsonl` with the rule "letter"."""
    del plain_M
    named, letters_M = letters_in(characters_M, rule.letters)
    last = last_of(named)
    return _letter(last >= 0, jnp.arange(len(named)) == last), letters_M


def _line(characters_M: jax.Array, plain_M: jax.Array, rule: AnswerRule) -> _Answer:
    """Finds the answer of `tasks.jsonl` with the rule "marker": `canonical` of the first line."""
    del rule
    position = jnp.arange(len(characters_M))
    first, last = _first_line(characters_M)
    inner = (first <= position) & (position <= last)
    space = inner & among(characters_M, SPACES)
    row_M = jnp.where(space, ord(" "), jnp.where(inner, characters_M, NOTHING))
    words = inner & ~(space & shifted(space, 1, False))

    first, last = _first_line(plain_M)
    plain_M = jnp.where((first <= position) & (position <= last), plain_M, NOTHING)
    number = device_numbers.find(plain_M, last=False)
    solid = solid_in(plain_M)
    percent = first_of(solid & (position >= number.end))
    stop = percent + among(pick(plain_M, percent), "%")
    over = stop + among(pick(plain_M, stop), ".") > last
    is_number = number.found & (number.start == first) & over
    spelled = device_numbers.spell(plain_M, number)
    no = jnp.asarray(False)
    text = Spelling(found=jnp.any(words), negative=no, zero=no, kept=words)
    answer = jax.tree.map(functools.partial(jnp.where, is_number), spelled, text)
    return answer, jnp.where(is_number, plain_M, row_M)


def _first_line(characters_M: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the first and last position of the first line's words; M and -1 without words."""
    position = jnp.arange(len(characters_M))
    solid = solid_in(characters_M) & (position < first_of(among(characters_M, BREAKS)))
    return first_of(solid), last_of(solid)


def _letter(found: jax.Array, kept_M: jax.Array) -> Spelling:
    no = jnp.asarray(False)
    return Spelling(found=found, negative=no, zero=no, kept=kept_M)


_OF_NUMBERS: tuple[Form, ...] = ("number first", "last number", "line")
_READERS: dict[Form, _Reader] = {
    "digits": _digits,
    "number first": _number_first,
    "last number": _last_number,
    "letter at the end": _letter_at_end,
    "last letter": _last_letter,
    "line": _line,
}
