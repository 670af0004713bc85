"""Finds a number in a row of characters on the device, by the rules of `number_text`.

Regular expressions look back and ahead; here that is a comparison with a shifted row. Digits with
the points, commas and spaces between them are a cluster: 1,234.5 is one, and so is 1.2.3, which is
no number. A number of `number_text` is always a whole cluster, with signs before it and at most a
point. So all clusters are tested at once.

A row is characters_M from `device_latex.plain`: M code points, `NOTHING` at the positions that do
not count. The functions are for one row, and meant for `jax.vmap`.
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
    """A number in a row; all arrays are [].

    Attributes:
        found: bool, True if there is a number.
        start: position of its first character, signs included.
        digits: position of its first digit, or of the point before it.
        end: position after its last digit.
        negative: bool, True if it has a minus sign.
    """

    found: jax.Array
    start: jax.Array
    digits: jax.Array
    end: jax.Array
    negative: jax.Array


class Spelling(NamedTuple):
    """An answer as a part of a row: "-" and "0" where needed, then the kept characters.

    Attributes:
        found: [] bool, True if there is an answer.
        negative, zero: [] bool, True if the answer begins with "-", and with "0" after that.
        kept: [M] bool, characters of the row that follow.
    """

    found: jax.Array
    negative: jax.Array
    zero: jax.Array
    kept: jax.Array


def find(characters_M: jax.Array, last: bool) -> Number:
    """Finds the last cluster that is a number, or the first cluster if that is a number.

    Args:
        characters_M: row from `device_latex.plain`.
        last: True for the last number; False for the first cluster.
    """
    clusters = _clusters(characters_M)
    number = clusters.ends & ~clusters.wrong
    final = last_of(number) if last else first_of(clusters.ends)  # position of its last digit
    at = functools.partial(pick, characters_M)
    begin = pick(clusters.begin, final)
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
    return Number(
        found=pick(number, final), start=start, digits=digits, end=final + 1, negative=minus | late
    )


def spell(characters_M: jax.Array, number: Number) -> Spelling:
    """Returns a number's canonical form: no currency signs, commas, spaces or needless zeros."""
    position = jnp.arange(len(characters_M))
    digit = (
        among(characters_M, string.digits) & (number.digits <= position) & (position < number.end)
    )
    counts = digit & (characters_M != ord("0"))
    pointed = among(characters_M, ".") & (number.digits <= position) & (position < number.end)
    point = jnp.minimum(first_of(pointed), number.end)
    whole = digit & (position < point) & (position >= first_of(counts & (position < point)))
    decimals = (point <= position) & (position <= last_of(counts & (position > point)))
    zero = ~jnp.any(whole)
    nothing = zero & ~jnp.any(decimals)
    return Spelling(
        found=number.found, negative=number.negative & ~nothing, zero=zero, kept=whole | decimals
    )


class _Clusters(NamedTuple):
    """The clusters of a row; all arrays are [M], for every position.

    Attributes:
        begin: int32, at the end of a cluster the position where that begins.
        dotted: bool, at the beginning of a cluster True if the point before it is part of it.
        ends: bool, True for the last position of a cluster.
        wrong: bool, at the end of a cluster True if it is no number.
    """

    begin: jax.Array
    dotted: jax.Array
    ends: jax.Array
    wrong: jax.Array


def _clusters(characters_M: jax.Array) -> _Clusters:
    def near(by: int, letters: str) -> jax.Array:
        return among(shifted(characters_M, by), letters)

    position = jnp.arange(len(characters_M))
    digits = {by: near(by, string.digits) for by in range(-3, 5)}
    digit = digits[0]
    links = near(0, ".,") & digits[-1] & digits[1]
    three = digits[1] & digits[2] & digits[3] & ~digits[4]
    spaces = _group_spaces(characters_M, near(0, " ") & digits[-1] & three, links)
    inside = digit | links | spaces
    begins, ends = inside & ~shifted(inside, -1, False), inside & ~shifted(inside, 1, False)
    begin = jax.lax.cummax(jnp.where(begins, position, 0))

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
    wrong |= joined | (begins & _continues(characters_M, dot))
    # The next cluster is joined to this one; or to the one after it, and is a fraction of this one.
    joined_next = shifted(next_is(joined, begins), 1, False)
    whole = next_is(begins & before_fraction & joined_next, begins)
    after = joined_next | shifted(whole, 1, False) | _goes_on(characters_M, digits)
    return _Clusters(begin=begin, dotted=dot, ends=ends, wrong=latest(wrong, ~inside) | after)


def _continues(characters_M: jax.Array, dot: jax.Array) -> jax.Array:
    """Returns whether text before each position makes a number there a part of a larger expression.

    See `number_text._NOT_AFTER`.
    """
    rows = [shifted(characters_M, -by) for by in range(5)]

    def before(by: int, letters: str) -> jax.Array:
        return among(jnp.where(dot, rows[by + 1], rows[by]), letters)

    last = _last_solid(characters_M)
    opening = "-+("
    inside = before(1, _WORD + "/^±}" + FRACTION + RAISED + ROOTS)
    inside |= before(1, "_") & before(2, _WORD + ")}]")
    inside |= before(1, "(") & before(2, string.ascii_letters + ROOTS)
    inside |= among(jnp.where(dot, shifted(last, -2), shifted(last, -1)), TAKES)
    inside |= before(1, opening) & before(2, "^")
    inside |= before(1, opening) & before(2, opening) & before(3, "^")
    inside |= before(1, "+-") & before(2, "eE") & before(3, string.digits)
    inside |= before(1, "[") & before(2, ROOTS)
    return inside | _argument(characters_M, last)


def _last_solid(characters_M: jax.Array) -> jax.Array:
    """Returns for every position the last character up to it that is no space."""
    position = jnp.where(among(characters_M, " "), -1, jnp.arange(len(characters_M)))
    return pick(characters_M, jax.lax.cummax(position))


def _argument(characters_M: jax.Array, last_M: jax.Array) -> jax.Array:
    """Returns the positions in an argument of a power, an index or a command of LaTeX."""
    opens, closes = among(characters_M, "{"), among(characters_M, "}")
    command = among(shifted(characters_M, -1), _WORD + "}]" + RAISED)
    command &= ~shifted(occurs(characters_M, "boxed"), -5, False)
    command |= among(shifted(last_M, -1), SCRIPTS)
    closes &= ~shifted(next_is(opens, ~among(characters_M, " ")), 1, False)
    closes |= among(characters_M, "\n")
    return latest(opens & command, closes)


def _goes_on(characters_M: jax.Array, digits: dict[int, jax.Array]) -> jax.Array:
    """Returns whether text after each position makes a number that ends there a part of more.

    See `number_text._NOT_BEFORE`.
    """
    digit = digits[0]

    def near(by: int, letters: str) -> jax.Array:
        return among(shifted(characters_M, by), letters)

    letter = near(0, string.ascii_letters)
    exponent = digit | (near(0, "+-") & digits[1])
    inside = near(1, RAISED) | (near(1, ".") & near(2, RAISED))
    inside |= shifted(next_is(near(0, FRACTION + ROOTS), ~near(0, " +&-")), 1, False)
    inside |= near(1, "i") & ~near(2, string.ascii_letters)
    inside |= shifted(occurs(characters_M, " and ") & near(5, FRACTION), 1, False)
    inside |= near(1, "^") & ~near(2, "\\") & ~(near(2, "{") & near(3, "\\"))
    inside |= near(1, "_") & near(2, string.ascii_letters + "{")
    return inside | shifted(letter & next_is(exponent, ~letter), 1, False)


# Bits that describe the text since the last digit: it has characters outside a set, characters of a
# set, a "{" before a "}"; and there was a digit.
_NO_JOINT, _NOT_WIDE, _NO_BRACKET, _NO_BRACE, _NOT_MIXED, _TIMES, _OVER, _OPENED, _CLOSED = range(9)
_PAIR, _DIGIT = 9, 10


def _joined(characters_M: jax.Array, digit: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Classifies the text between each position and the last digit before it.

    See `number_text._JOINED` and `number_text._MIXED`.

    Returns:
        Whether the text joins the numbers around it into one expression, [M]; whether it can
        separate a whole number from its fraction, [M].
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
    """Returns the positions at which a remainder begins, as in 7 r 3."""
    rest = among(characters_M, " ") & digits[-1] & among(shifted(characters_M, 1), "rR")
    direct, spaced = digits[2], among(shifted(characters_M, 2), " ") & digits[3]
    return shifted(rest & direct, -2, False) | shifted(rest & spaced, -3, False)


def _group_spaces(characters_M: jax.Array, space: jax.Array, links: jax.Array) -> jax.Array:
    """Returns which of the spaces between digits group them in threes, as in 12 000.

    Args:
        characters_M: row of characters.
        space: [M] bool, spaces with a digit before them and three after them.
        links: [M] bool, points and commas between digits.
    """
    digit = among(characters_M, string.digits)
    head = digit & ~shifted(digit, -1, False) & ~shifted(links, -1, False)
    head &= ~among(characters_M, "0")
    one, two, three = (shifted(head, -count, False) for count in (1, 2, 3))
    two &= shifted(digit, -1, False)
    three &= shifted(digit, -1, False) & shifted(digit, -2, False)
    first = space & (one | two | three)
    # Digits such as 000 are no head; they continue a group.
    on = space & shifted(digit, -2, False) & shifted(digit, -3, False) & shifted(space, -4, False)
    return latest(first, ~digit & ~first & ~on) & (first | on)


def _heads_group(characters_M: jax.Array, begins: jax.Array, comma: jax.Array) -> jax.Array:
    """Returns the positions after digits that a comma can follow: 1, 12, 123 or ,123."""
    head = begins & ~among(characters_M, "0")
    one, two, three = (shifted(head, -count, False) for count in (1, 2, 3))
    plain = among(characters_M, string.digits)
    two &= shifted(plain, -1, False)
    three = (three | shifted(comma, -4, False)) & shifted(plain, -2, False)
    three &= shifted(plain, -1, False)
    return one | two | three
