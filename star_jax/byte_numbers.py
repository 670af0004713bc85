"""The rules of `numbers`, on the device: one number in a row of characters, and how it is spelled.

Regular expressions look back and ahead; here that is a comparison with a shifted row. Digits with
the points and commas between them are a cluster: 1,234.5 is one, and so is 1.2.3, which is no
number. What `numbers` finds is always a whole cluster, with signs before it and at most a point:
whatever ends earlier is followed by what it forbids. So clusters are judged, all at once.

A row is characters_M: M code points, `NOTHING` in the places that do not count. The functions are
for one row, and meant for `jax.vmap`.
"""

import functools
import string
from typing import NamedTuple

import jax
import jax.numpy as jnp

from star_jax.numbers import JOINTS, MINUS, MONEY, RAISED

NOTHING = -1
_WORD = string.ascii_letters + string.digits


class Number(NamedTuple):
    """A number in a row; [] where not said otherwise.

    Attributes:
        found: whether there is one.
        start: its first character, signs included.
        digits: its first digit, or the point before it.
        end: the place after its last digit.
        negative: whether it has a minus sign.
    """

    found: jax.Array
    start: jax.Array
    digits: jax.Array
    end: jax.Array
    negative: jax.Array


class Spelling(NamedTuple):
    """An answer as a part of a row: "-" where it is negative, "0" if need be, then what is kept.

    Attributes:
        found: [] bool; without, there is no answer.
        negative, zero: [] bool, whether it begins with these.
        kept: [M] bool, the characters that follow.
    """

    found: jax.Array
    negative: jax.Array
    zero: jax.Array
    kept: jax.Array


def find(characters_M: jax.Array, last: bool) -> Number:
    """The number of the last cluster that is one; or of the first cluster, if that is one."""
    clusters = _clusters(characters_M)
    number = clusters.ends & ~clusters.wrong
    place = jnp.arange(len(characters_M))
    chosen = last_of(number) if last else first_of(clusters.ends)
    begin = last_of(~clusters.inside & (place < chosen)) + 1
    at = functools.partial(pick, characters_M)
    linked = jnp.any(clusters.links & (begin < place) & (place < chosen))
    dotted = ~linked & among(at(begin - 1), ".")
    dotted &= ~among(at(begin - 2), _WORD + "_.")
    dotted &= ~(among(at(begin - 2), JOINTS) & among(at(begin - 3), string.digits))
    dotted &= ~_exponent(at(begin - 4), at(begin - 3), at(begin - 2))
    digits = begin - dotted
    near, far, farther = at(digits - 1), at(digits - 2), at(digits - 3)
    late = among(near, MINUS) & among(far, MONEY)
    money = among(near, MONEY) | late
    before, behind = (
        jnp.where(late, at(digits - 3), jnp.where(money, far, near)),
        jnp.where(late, at(digits - 4), jnp.where(money, farther, far)),
    )
    minus = among(before, MINUS) & ~among(behind, _WORD + ")%]" + MINUS)
    start = digits - money - late - minus
    return Number(pick(number, chosen), start, digits, chosen + 1, minus | late)


def spell(characters_M: jax.Array, number: Number) -> Spelling:
    """Its canonical form: no signs of money, no commas, no needless zeros."""
    place = jnp.arange(len(characters_M))
    digit = among(characters_M, string.digits) & (number.digits <= place) & (place < number.end)
    counts = digit & (characters_M != ord("0"))
    pointed = among(characters_M, ".") & (number.digits <= place) & (place < number.end)
    point = jnp.minimum(first_of(pointed), number.end)
    whole = digit & (place < point) & (place >= first_of(counts & (place < point)))
    decimals = (point <= place) & (place <= last_of(counts & (place > point)))
    zero = ~jnp.any(whole)
    nothing = zero & ~jnp.any(decimals)
    return Spelling(number.found, number.negative & ~nothing, zero, whole | decimals)


def among(characters: jax.Array, letters: str) -> jax.Array:
    """Which of the characters are one of these."""
    ranges = ((first <= characters) & (characters <= last) for first, last in _ranges(letters))
    return functools.reduce(jnp.logical_or, ranges)


def _ranges(letters: str) -> list[tuple[int, int]]:
    """Their code points, from and to."""
    points = {ord(letter) for letter in letters}
    firsts, lasts = ({x for x in points if x + by not in points} for by in (-1, 1))
    return list(zip(sorted(firsts), sorted(lasts), strict=True))


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


class _Clusters(NamedTuple):
    """Of every place in a row, [M] bool.

    Attributes:
        inside: it is part of a cluster.
        links: it is a point or a comma between two digits.
        ends: it is the last of a cluster.
        wrong: up to here, something in the cluster or around it makes it no number.
    """

    inside: jax.Array
    links: jax.Array
    ends: jax.Array
    wrong: jax.Array


def _clusters(characters_M: jax.Array) -> _Clusters:
    def near(by: int, letters: str) -> jax.Array:
        return among(shifted(characters_M, by), letters)

    digits = {by: near(by, string.digits) for by in range(-3, 5)}
    digit = digits[0]
    links = near(0, ".,") & digits[-1] & digits[1]
    inside = digit | links
    begins, ends = inside & ~shifted(inside, -1, False), inside & ~shifted(inside, 1, False)
    point, comma = links & near(0, "."), links & near(0, ",")

    into = begins & near(-1, _WORD + "_")
    into |= begins & near(-1, JOINTS) & digits[-2]
    into |= begins & _exponent(*(shifted(characters_M, by) for by in (-3, -2, -1)))
    second_point = point & shifted(_latest(point, ~digit), -1, False)
    three = digits[1] & digits[2] & digits[3] & ~digits[4]
    misplaced = comma & ~(three & _heads_group(characters_M, begins, comma))
    letter, joint = near(0, string.ascii_letters), near(0, JOINTS + "_")
    exponent = digit | (near(0, "+-") & digits[1])
    onto = near(1, RAISED)
    onto |= shifted(joint & _next(digit, ~joint), 1, False)
    onto |= shifted(letter & _next(exponent, ~letter), 1, False)
    wrong = into | second_point | misplaced | (ends & onto)
    return _Clusters(inside, links, ends, _latest(wrong, ~inside))


def _heads_group(characters_M: jax.Array, begins: jax.Array, comma: jax.Array) -> jax.Array:
    """Whether what ends in the place before can have a comma after it: 1, 12, 123 or ,123."""
    head = begins & ~among(characters_M, "0")
    one, two, three = (shifted(head, -count, False) for count in (1, 2, 3))
    plain = among(characters_M, string.digits)
    two &= shifted(plain, -1, False)
    three = (three | shifted(comma, -4, False)) & shifted(plain, -2, False)
    three &= shifted(plain, -1, False)
    return one | two | three


def _exponent(digit: jax.Array, letter: jax.Array, sign: jax.Array) -> jax.Array:
    """Whether three characters are those before the 5 of 1e-5."""
    return among(digit, string.digits) & among(letter, "eE") & among(sign, "+-")


def _latest(marked_M: jax.Array, ended_M: jax.Array) -> jax.Array:
    """Whether there is a mark here or before, and no end of what it marks after it."""
    place = 2 * jnp.arange(len(marked_M))
    return jax.lax.cummax(jnp.where(marked_M, place + 1, jnp.where(ended_M, place, 0))) % 2 == 1


def _next(wanted_M: jax.Array, met_M: jax.Array) -> jax.Array:
    """Whether the next place that is met, here or after, is a wanted one."""
    place, beyond = 2 * jnp.arange(len(wanted_M)), 2 * len(wanted_M) + 1
    found = jnp.where(met_M, jnp.where(wanted_M, place, place + 1), beyond)
    return jax.lax.cummin(found, reverse=True) % 2 == 0
