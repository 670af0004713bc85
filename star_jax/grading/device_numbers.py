"""The rules of `numbers`, on the device: one number in a row of characters, and how it is spelled.

Regular expressions look back and ahead; here that is a comparison with a shifted row. Digits with
the points, commas and spaces between them are a cluster: 1,234.5 is one, and so is 1.2.3, which is
no number. What `numbers` finds is always a whole cluster, with signs before it and at most a point.
So clusters are judged, all at once.

A row is characters_M: M code points, `NOTHING` in the places that do not count. The functions are
for one row, and meant for `jax.vmap`; a row is one of `byte_plain.plain`.
"""

import functools
import string
from typing import NamedTuple

import jax
import jax.numpy as jnp

from star_jax.grading.device_bytes import (
    among,
    first_of,
    last_of,
    latest,
    next_is,
    occurs,
    pick,
    shifted,
)
from star_jax.tasks.number_text import (
    BRACKETS,
    FRACTION,
    JOINTS,
    MINUS,
    MONEY,
    OVER,
    RAISED,
    ROOTS,
    SCRIPTS,
    TAKES,
    TIMES,
)

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
    """The number of the last cluster that is one; or of the first cluster, if that is one.

    Args:
        characters_M: a row as `plain` has it.
        last: which of the two.
    """
    clusters = _clusters(characters_M)
    number = clusters.ends & ~clusters.wrong
    chosen = last_of(number) if last else first_of(clusters.ends)
    at = functools.partial(pick, characters_M)
    begin = pick(clusters.begin, chosen)
    digits = begin - pick(clusters.dotted, begin)
    near, far, farther = at(digits - 1), at(digits - 2), at(digits - 3)
    late = among(near, MINUS) & among(far, MONEY)
    money = among(near, MONEY) | late
    before, behind = (
        jnp.where(late, farther, jnp.where(money, far, near)),
        jnp.where(late, at(digits - 4), jnp.where(money, farther, far)),
    )
    minus = among(before, MINUS) & ~among(behind, _WORD + ")%]}" + RAISED + FRACTION + MINUS)
    start = digits - money - late - minus
    return Number(pick(number, chosen), start, digits, chosen + 1, minus | late)


def spell(characters_M: jax.Array, number: Number) -> Spelling:
    """Its canonical form: no signs of money, no commas or spaces, no needless zeros."""
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


class _Clusters(NamedTuple):
    """Of every place in a row, [M].

    Attributes:
        begin: int32, at the end of a cluster where that begins.
        dotted: bool, at the beginning of a cluster whether the point before it is part of it.
        ends: bool, it is the last of a cluster.
        wrong: bool, at the end of a cluster whether something makes it no number.
    """

    begin: jax.Array
    dotted: jax.Array
    ends: jax.Array
    wrong: jax.Array


def _clusters(characters_M: jax.Array) -> _Clusters:
    def near(by: int, letters: str) -> jax.Array:
        return among(shifted(characters_M, by), letters)

    place = jnp.arange(len(characters_M))
    digits = {by: near(by, string.digits) for by in range(-3, 5)}
    digit = digits[0]
    links = near(0, ".,") & digits[-1] & digits[1]
    three = digits[1] & digits[2] & digits[3] & ~digits[4]
    spaces = _group_spaces(characters_M, near(0, " ") & digits[-1] & three, links)
    inside = digit | links | spaces
    begins, ends = inside & ~shifted(inside, -1, False), inside & ~shifted(inside, 1, False)
    begin = jax.lax.cummax(jnp.where(begins, place, 0))

    point, comma = links & near(0, "."), links & near(0, ",")
    second_point = point & shifted(latest(point, ~inside), -1, False)
    misplaced = comma & ~(three & _heads_group(characters_M, begins, comma))
    dot = begins & near(-1, ".") & ~near(-2, _WORD + "_.")
    wrong = second_point | misplaced | ((links | spaces) & latest(dot, ~inside))

    joined, before_fraction = _joined(characters_M, digit)
    joined |= _is_rest(characters_M, digits)
    group = shifted(comma, -4, False) & digits[-3] & digits[-2] & digits[-1]
    joined |= shifted(group & near(0, " ") & three & ~spaces, -1, False)  # 1,234 567
    joined &= begins
    wrong |= joined | (begins & _led_up_to(characters_M, dot))
    # The next cluster is joined to this one; or to the one after it, and is a fraction of this one.
    joined_next = shifted(next_is(joined, begins), 1, False)
    whole = next_is(begins & before_fraction & joined_next, begins)
    after = joined_next | shifted(whole, 1, False) | _goes_on(characters_M, digits)
    return _Clusters(begin, dot, ends, latest(wrong, ~inside) | after)


def _led_up_to(characters_M: jax.Array, dot: jax.Array) -> jax.Array:
    """Whether a number that begins here would be part of something before it; see `_NOT_AFTER`."""
    rows = [shifted(characters_M, -by) for by in range(5)]

    def before(by: int, letters: str) -> jax.Array:
        return among(jnp.where(dot, rows[by + 1], rows[by]), letters)

    last = _last_solid(characters_M)
    opening = "-+("
    found = before(1, _WORD + "/^±}" + FRACTION + RAISED + ROOTS)
    found |= before(1, "_") & before(2, _WORD + ")}]")
    found |= before(1, "(") & before(2, string.ascii_letters + ROOTS)
    found |= among(jnp.where(dot, shifted(last, -2), shifted(last, -1)), TAKES)
    found |= before(1, opening) & before(2, "^")
    found |= before(1, opening) & before(2, opening) & before(3, "^")
    found |= before(1, "+-") & before(2, "eE") & before(3, string.digits)
    found |= before(1, "[") & before(2, ROOTS)
    return found | _argument(characters_M, last)


def _last_solid(characters_M: jax.Array) -> jax.Array:
    """For every place the last character up to it that is no space."""
    place = jnp.where(among(characters_M, " "), -1, jnp.arange(len(characters_M)))
    return pick(characters_M, jax.lax.cummax(place))


def _argument(characters_M: jax.Array, last_M: jax.Array) -> jax.Array:
    """Whether a place is in the argument of a power, an index or a command of LaTeX."""
    opens, closes = among(characters_M, "{"), among(characters_M, "}")
    command = among(shifted(characters_M, -1), _WORD + "}]" + RAISED)
    command &= ~shifted(occurs(characters_M, "boxed"), -5, False)
    command |= among(shifted(last_M, -1), SCRIPTS)
    closes &= ~shifted(next_is(opens, ~among(characters_M, " ")), 1, False)
    closes |= among(characters_M, "\n")
    return latest(opens & command, closes)


def _goes_on(characters_M: jax.Array, digits: dict[int, jax.Array]) -> jax.Array:
    """Whether what ends here would be part of something after it; see `_NOT_BEFORE`."""
    digit = digits[0]

    def near(by: int, letters: str) -> jax.Array:
        return among(shifted(characters_M, by), letters)

    letter = near(0, string.ascii_letters)
    exponent = digit | (near(0, "+-") & digits[1])
    found = near(1, RAISED) | (near(1, ".") & near(2, RAISED))
    found |= shifted(next_is(near(0, FRACTION + ROOTS), ~near(0, " +&-")), 1, False)
    found |= near(1, "i") & ~near(2, string.ascii_letters)
    found |= shifted(occurs(characters_M, " and ") & near(5, FRACTION), 1, False)
    found |= near(1, "^") & ~near(2, "\\") & ~(near(2, "{") & near(3, "\\"))
    found |= near(1, "_") & near(2, string.ascii_letters + "{")
    return found | shifted(letter & next_is(exponent, ~letter), 1, False)


# Bits of what is met after a digit: characters that are not of a set, those that are, a "{" before
# a "}"; and whether there was a digit.
_NO_JOINT, _NOT_WIDE, _NO_BRACKET, _NO_BRACE, _NOT_MIXED, _TIMES, _OVER, _OPENED, _CLOSED = range(9)
_PAIR, _DIGIT = 9, 10


def _joined(characters_M: jax.Array, digit: jax.Array) -> tuple[jax.Array, jax.Array]:
    """By what stands between a place and the last digit before it, see `numbers`.

    Returns: whether that makes one thing of the numbers on its sides; whether it may stand between
        a whole number and its fraction.
    """

    def here(letters: str) -> jax.Array:
        return among(characters_M, letters)

    bold = here("*") & (shifted(here("*"), 1, False) | shifted(here("*"), -1, False))
    kinds = {
        _NO_JOINT: ~here(JOINTS),
        _NOT_WIDE: ~here(" " + TIMES),
        _NO_BRACKET: ~here(" " + OVER + BRACKETS),
        _NO_BRACE: ~here(" ,.{}"),
        _NOT_MIXED: ~here(" +&-"),
        _TIMES: here(TIMES) & ~bold,
        _OVER: here(OVER),
        _OPENED: here("{"),
        _CLOSED: here("}"),
    }

    def has(kinds: jax.Array, kind: int) -> jax.Array:
        return (kinds >> kind) % 2 == 1

    def together(left: jax.Array, right: jax.Array) -> jax.Array:
        pair = has(left, _OPENED) & has(right, _CLOSED)
        return jnp.where(has(right, _DIGIT), right, left | right | pair << _PAIR)

    bits = functools.reduce(jnp.bitwise_or, (mask << kind for kind, mask in kinds.items()))
    bits = jnp.where(digit, 1 << _DIGIT, bits)
    gap = shifted(jax.lax.associative_scan(together, bits), -1, 0)
    numbers = has(gap, _DIGIT)
    joined = ~has(gap, _NO_JOINT) | (~has(gap, _NOT_WIDE) & has(gap, _TIMES))
    joined |= ~has(gap, _NO_BRACKET) & has(gap, _OVER)
    joined |= ~has(gap, _NO_BRACE) & has(gap, _PAIR)
    words = shifted(occurs(characters_M, " and ") & shifted(digit, -1, False), -5, False)
    return numbers & joined, (numbers & ~has(gap, _NOT_MIXED)) | words


def _is_rest(characters_M: jax.Array, digits: dict[int, jax.Array]) -> jax.Array:
    """Whether what begins here is a remainder, as in 7 r 3."""
    rest = among(characters_M, " ") & digits[-1] & among(shifted(characters_M, 1), "rR")
    close, apart = digits[2], among(shifted(characters_M, 2), " ") & digits[3]
    return shifted(rest & close, -2, False) | shifted(rest & apart, -3, False)


def _group_spaces(characters_M: jax.Array, space: jax.Array, links: jax.Array) -> jax.Array:
    """Which of the spaces between digits group them in threes, as in 12 000.

    Args:
        characters_M: the row.
        space: those with a digit before them and three after them.
        links: points and commas between digits.
    """
    digit = among(characters_M, string.digits)
    head = digit & ~shifted(digit, -1, False) & ~shifted(links, -1, False)
    head &= ~among(characters_M, "0")
    one, two, three = (shifted(head, -count, False) for count in (1, 2, 3))
    two &= shifted(digit, -1, False)
    three &= shifted(digit, -1, False) & shifted(digit, -2, False)
    first = space & (one | two | three)
    # 000 and the like are no head; they go on with a group that has begun.
    on = space & shifted(digit, -2, False) & shifted(digit, -3, False) & shifted(space, -4, False)
    return latest(first, ~digit & ~first & ~on) & (first | on)


def _heads_group(characters_M: jax.Array, begins: jax.Array, comma: jax.Array) -> jax.Array:
    """Whether what ends in the place before can have a comma after it: 1, 12, 123 or ,123."""
    head = begins & ~among(characters_M, "0")
    one, two, three = (shifted(head, -count, False) for count in (1, 2, 3))
    plain = among(characters_M, string.digits)
    two &= shifted(plain, -1, False)
    three = (three | shifted(comma, -4, False)) & shifted(plain, -2, False)
    three &= shifted(plain, -1, False)
    return one | two | three
