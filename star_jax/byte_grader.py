"""Right or wrong on the device: token ids -> bytes -> characters -> answer -> the gold one or not.

`grading` is the definition. This says the same of every row of tokens, whatever they spell, for
tasks that have an `AnswerRule`: pure functions of static shapes, to be part of a larger program.
Bytes are decoded to characters as Python does it, so rules about characters stay what they are on
the host: white space, line breaks and signs of money are those of Unicode.

Few tokens are as long as the longest, and the work is a matter of bytes: `grade` has room for what
rows are likely to write, and for all they could only where one of them needs it.

Shapes: B rows, N tokens, M bytes there is room for, A bytes of the longest gold answer.
"""

import dataclasses
import functools
import math
import string
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from star_jax import byte_numbers
from star_jax.byte_numbers import NOTHING, Spelling, among, first_of, last_of, pick, shifted
from star_jax.sampler.decode import Stop
from star_jax.tasks.answer_rule import AnswerRule, Form

SPACES = "".join(char for char in map(chr, range(0x3001)) if char.isspace())
BREAKS = "".join(char for char in SPACES if len(f"{char}x".splitlines()) == 2)
_REPLACEMENT = 0xFFFD
_ROOM = 2  # times the vocabulary's mean token: texts prefer shorter ones


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Text:
    """What rows wrote.

    Attributes:
        bytes: [B, M] uint8, all that the tokens stand for, padded with zeros.
        length: [B] int32, bytes before the stop text and without the white space before that.
        starts: [B, N] int32, where each token's bytes begin.
        characters: [B, M] int32, those of `length` as code points; -1 after them.
    """

    bytes: jax.Array
    length: jax.Array
    starts: jax.Array
    characters: jax.Array


def read(
    tokens_BxN: jax.Array,
    length_B: jax.Array,
    stop: Stop,
    room: int,
) -> Text:
    """What rows wrote, up to the text that stopped them.

    Args:
        tokens_BxN: token ids.
        length_B: how many of them count.
        stop: the tokenizer's bytes, and the text that ends a completion.
        room: M, at least the bytes of every row; see `rooms`.
    """
    one = functools.partial(_read, stop=stop, room=room)
    return jax.vmap(one)(tokens_BxN, _sizes(tokens_BxN, length_B, stop))


def correct(
    rule: AnswerRule, text: Text, gold_BxA: jax.Array, gold_length_B: jax.Array
) -> jax.Array:
    """Which rows say the gold answer, [B] bool; `gold` makes the last two arguments."""
    wanted_BxA, _ = jax.vmap(_characters)(gold_BxA, gold_length_B)
    return jax.vmap(functools.partial(_correct, rule))(text.characters, wanted_BxA)


def grade(
    rule: AnswerRule,
    stop: Stop,
    tokens_BxN: jax.Array,
    length_B: jax.Array,
    gold_BxA: jax.Array,
    gold_length_B: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """`read`, then `correct`.

    Returns: [B] bool, which rows say the gold answer; [B] int32, how many of a row's tokens begin
        before its text ends.
    """

    def within(room: int) -> tuple[jax.Array, jax.Array]:
        text = read(tokens_BxN, length_B, stop, room)
        written = jnp.arange(tokens_BxN.shape[1]) < length_B[:, None]
        kept = jnp.sum(written & (text.starts < text.length[:, None]), axis=1)
        return correct(rule, text, gold_BxA, gold_length_B), kept

    usual, most = rooms(stop, tokens_BxN.shape[1])
    if usual == most:
        return within(most)
    longest = jnp.max(jnp.sum(_sizes(tokens_BxN, length_B, stop), axis=1))
    return jax.lax.cond(longest <= usual, lambda: within(usual), lambda: within(most))


def rooms(stop: Stop, count: int) -> tuple[int, int]:
    """Bytes that so many tokens are likely to have at most, and those that they can have."""
    mean = float(np.mean(stop.token_lengths[: stop.vocabulary]))
    most = count * stop.token_bytes.shape[1]
    return min(math.ceil(_ROOM * mean * count), most), most


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


def _sizes(tokens_BxN: jax.Array, length_B: jax.Array, stop: Stop) -> jax.Array:
    """Bytes of the tokens that count, [B, N]; 0 for the others."""
    counts = jnp.arange(tokens_BxN.shape[1]) < length_B[:, None]
    return jnp.where(counts, jnp.asarray(stop.token_lengths)[tokens_BxN], 0)


# From here on functions are for one row.


def _read(tokens_N: jax.Array, sizes_N: jax.Array, *, stop: Stop, room: int) -> Text:
    ends_N = jnp.cumsum(sizes_N)
    starts_N, total = ends_N - sizes_N, ends_N[-1]
    place_M = jnp.arange(room)
    # Of the tokens that begin in a place, only the last can have bytes.
    token_M = jnp.cumsum(jnp.zeros((room,), jnp.int32).at[starts_N].add(1, mode="drop")) - 1
    bytes_M = jnp.asarray(stop.token_bytes)[tokens_N[token_M], place_M - starts_N[token_M]]
    bytes_M = jnp.where(place_M < total, bytes_M, 0)
    characters_M, rank_M = _characters(bytes_M, total)
    characters_M = _up_to_stop(characters_M, stop.text.decode()) if stop.text else characters_M
    end = last_of(characters_M != NOTHING) + 1
    written = jnp.minimum(first_of(rank_M == end), total)
    return Text(bytes_M, written, starts_N, characters_M)


def _up_to_stop(characters_M: jax.Array, stop: str) -> jax.Array:
    """Without what comes from the stop text on, and the white space before it."""
    place = jnp.arange(len(characters_M))
    kept = (characters_M != NOTHING) & (place < first_of(_occurs(characters_M, stop)))
    return jnp.where(place <= last_of(kept & ~among(characters_M, SPACES)), characters_M, NOTHING)


def _characters(bytes_M: jax.Array, length: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Code points [M] as `bytes.decode(errors="replace")` has them; for a byte, which it begins.

    The latter is M where a byte begins none.
    A sequence that breaks off, or can be none, is one U+FFFD for as much of it as was right.
    """
    size = len(bytes_M)
    place = jnp.arange(size)
    lead = jnp.where(place < length, bytes_M.astype(jnp.int32), NOTHING)
    second, third, fourth = (shifted(lead, by) for by in (1, 2, 3))
    least = jnp.where(lead == 0xE0, 0xA0, jnp.where(lead == 0xF0, 0x90, 0x80))
    most = jnp.where(lead == 0xED, 0x9F, jnp.where(lead == 0xF4, 0x8F, 0xBF))
    long2, long3, long4 = (lead >= 0xC2) & (lead <= 0xF4), lead >= 0xE0, lead >= 0xF0
    goes2 = long2 & (least <= second) & (second <= most)
    goes3 = goes2 & long3 & (third >> 6 == 0b10)
    goes4 = goes3 & long4 & (fourth >> 6 == 0b10)
    taken = shifted(goes2, -1, False) | shifted(goes3, -2, False) | shifted(goes4, -3, False)
    point2 = (lead & 0x1F) << 6 | (second & 0x3F)
    point3 = (lead & 0xF) << 12 | (second & 0x3F) << 6 | (third & 0x3F)
    point4 = (lead & 7) << 18 | (second & 0x3F) << 12 | (third & 0x3F) << 6 | (fourth & 0x3F)
    point = jnp.where(goes2 & ~long3, point2, _REPLACEMENT)
    point = jnp.where(goes3 & ~long4, point3, jnp.where(goes4, point4, point))
    point = jnp.where(lead < 0x80, lead, point)
    begins = (lead != NOTHING) & ~taken
    rank = jnp.where(begins, jnp.cumsum(begins) - 1, size)
    return jnp.full((size,), NOTHING).at[rank].set(point, mode="drop"), rank


def _correct(rule: AnswerRule, characters_M: jax.Array, wanted_A: jax.Array) -> jax.Array:
    if rule.marker:
        characters_M = _after(characters_M, rule.marker, rule.first)
    answer, characters_M = _READERS[rule.form](characters_M, rule)
    begin = answer.negative.astype(jnp.int32) + answer.zero
    places = begin + jnp.cumsum(answer.kept) - 1
    same = characters_M == pick(wanted_A, places)
    right = answer.found & (begin + jnp.sum(answer.kept) == jnp.sum(wanted_A != NOTHING))
    right &= (wanted_A[0] != NOTHING) & jnp.all(same | ~answer.kept)
    right &= ~answer.negative | (wanted_A[0] == ord("-"))
    return right & (~answer.zero | (pick(wanted_A, begin - 1) == ord("0")))


def _occurs(characters_M: jax.Array, text: str) -> jax.Array:
    """Where a text begins in the row, [M] bool."""
    here = (shifted(characters_M, by) == ord(char) for by, char in enumerate(text))
    return functools.reduce(jnp.logical_and, here)


def _after(characters_M: jax.Array, marker: str, first: bool) -> jax.Array:
    """What follows a marker, in its place; nothing where there is no marker."""
    marked = _occurs(characters_M, marker)
    start = (first_of if first else last_of)(marked) + len(marker)
    counts = jnp.any(marked) & (jnp.arange(len(characters_M)) >= start)
    return jnp.where(counts, characters_M, NOTHING)


# What stands in a row, by the rule's form: the answer, and the row that its letters are taken from.
_Found = tuple[Spelling, jax.Array]


def _digits(characters_M: jax.Array, rule: AnswerRule) -> _Found:
    """See `tasks.arithmetic`: digits and spaces, and nothing but line ends after them."""
    del rule
    place = jnp.arange(len(characters_M))
    digit = among(characters_M, "0123456789")
    ending = among(characters_M, "\n") & (
        place > last_of(_is(characters_M) & ~among(characters_M, "\n"))
    )
    others = _is(characters_M) & ~digit & ~among(characters_M, " ") & ~ending
    kept = digit & (place >= first_of(digit & ~among(characters_M, "0")))
    found = jnp.any(digit) & ~jnp.any(others)
    return Spelling(found, jnp.asarray(False), ~jnp.any(kept), kept), characters_M


def _number_first(characters_M: jax.Array, rule: AnswerRule) -> _Found:
    """See `numbers.leading`."""
    del rule
    number = byte_numbers.find(characters_M, last=False)
    found = number.found & (number.start == first_of(_is(characters_M)))
    return byte_numbers.spell(characters_M, number._replace(found=found)), characters_M


def _last_number(characters_M: jax.Array, rule: AnswerRule) -> _Found:
    """See `numbers.last`."""
    del rule
    number = byte_numbers.find(characters_M, last=True)
    return byte_numbers.spell(characters_M, number), characters_M


def _letter_at_end(characters_M: jax.Array, rule: AnswerRule) -> _Found:
    """See `tasks.choices`."""
    place = jnp.arange(len(characters_M))
    named, letters_M = _letters(characters_M, rule.letters)
    last = last_of(named)
    other = named & (letters_M != pick(letters_M, last))
    broken = among(characters_M, "\n") & (place < last)
    rest = last + 3 + among(pick(characters_M, last + 3), ".")
    more = _is(characters_M) & ~among(characters_M, SPACES) & (place >= rest)
    found = (last >= 0) & ~jnp.any(other | broken | more)
    return _letter(found, place == last), letters_M


def _last_letter(characters_M: jax.Array, rule: AnswerRule) -> _Found:
    """See `tasks.jsonl`."""
    named, letters_M = _letters(characters_M, rule.letters)
    last = last_of(named)
    return _letter(last >= 0, jnp.arange(len(named)) == last), letters_M


def _line(characters_M: jax.Array, rule: AnswerRule) -> _Found:
    """See `tasks.jsonl`: `Jsonl.canonical` of the first line."""
    del rule
    place = jnp.arange(len(characters_M))
    line = _is(characters_M) & (place < first_of(among(characters_M, BREAKS)))
    solid = line & ~among(characters_M, SPACES)
    first, last = first_of(solid), last_of(solid)
    inner = (first <= place) & (place <= last)
    space = inner & ~solid
    row_M = jnp.where(space, ord(" "), jnp.where(inner, characters_M, NOTHING))
    words = inner & ~(space & shifted(space, 1, False))

    number = byte_numbers.find(row_M, last=False)
    percent = first_of(solid & (place >= number.end))
    stop = percent + among(pick(row_M, percent), "%")
    over = stop + among(pick(row_M, stop), ".") > last
    is_number = number.found & (number.start == first) & over
    spelled = byte_numbers.spell(row_M, number)
    no = jnp.asarray(False)
    said = Spelling(jnp.any(solid), no, no, words)
    return jax.tree.map(functools.partial(jnp.where, is_number), spelled, said), row_M


def _is(characters_M: jax.Array) -> jax.Array:
    return characters_M != NOTHING


def _letters(characters_M: jax.Array, letters: str) -> tuple[jax.Array, jax.Array]:
    """Where one of these stands in parentheses, by the first of them; and it, in lower case."""
    letter = shifted(characters_M, 1)
    named = among(characters_M, "(") & among(letter, letters) & among(shifted(characters_M, 2), ")")
    return named, jnp.where(among(letter, string.ascii_uppercase), letter + 32, letter)


def _letter(found: jax.Array, kept_M: jax.Array) -> Spelling:
    return Spelling(found, jnp.asarray(False), jnp.asarray(False), kept_M)


_READERS: dict[Form, Callable[[jax.Array, AnswerRule], _Found]] = {
    "digits": _digits,
    "number first": _number_first,
    "last number": _last_number,
    "letter at the end": _letter_at_end,
    "last letter": _last_letter,
    "line": _line,
}
