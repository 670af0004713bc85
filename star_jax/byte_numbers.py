"""The rules of `numbers`, on the device: one number in a row of characters, and how it is spelled.

Regular expressions look back and ahead; here that is a comparison with a shifted row. Digits with
the points, commas and spaces between them are a cluster: 1,234.5 is one, and so is 1.2.3, which is
no number. What `numbers` finds is always a whole cluster, with signs before it and at most a point.
So clusters are judged, all at once.

A row is characters_M: M code points, `NOTHING` in the places that do not count. The functions are
for one row, and meant for `jax.vmap`; `plain` is for many.
"""

import functools
import string
from typing import NamedTuple

import jax
import jax.numpy as jnp

from star_jax.byte_rows import (
    NOTHING,
    among,
    first_of,
    last_of,
    latest,
    next_is,
    occurs,
    pick,
    shifted,
)
from star_jax.numbers import (
    BRACKETS,
    FORMS,
    FRACTION,
    FULL_WIDTH,
    JOINTS,
    LATEX_SIGNS,
    LATEX_WORDS,
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


def plain(characters_BxM: jax.Array) -> jax.Array:
    """Rows as numbers are looked for in them; see `numbers.plain`.

    LaTeX makes rows shorter. Few have any: where none has, that half of the work is left out.
    """
    mapped = _mapped(characters_BxM)
    latex = jnp.any(among(mapped, "\\{~"))
    return jax.lax.cond(latex, jax.vmap(_without_latex), lambda rows: rows, mapped)


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
    linked = latest(links | spaces, begins | ~inside)  # from the first link on
    broken = latest(second_point | misplaced, ~inside)

    dot = begins & near(-1, ".") & ~near(-2, _WORD + "_.")
    wrong = broken | (linked & latest(dot, ~inside))
    wrong |= latest(begins & _led_up_to(characters_M, dot), ~inside)
    wrong |= _goes_on(characters_M, digits)
    mixed = near(0, " ") & digits[-1] & three & shifted(comma, -4, False) & ~spaces  # 1,234 567
    joined_before, joined_after = _joined(characters_M, digits, mixed)
    wrong |= latest(begins & joined_before, ~inside) | joined_after
    # A whole number before a fraction: the next cluster is joined to one after it.
    over = next_is(ends & joined_after, ends)
    fraction = begins & over
    first = ~near(0, " +&-")
    wrong |= shifted(next_is(fraction, first), 1, False) & near(1, " +&-")
    wrong |= shifted(occurs(characters_M, " and ") & shifted(fraction, 5, False), 1, False)
    return _Clusters(begin, dot, ends, wrong)


def _led_up_to(characters_M: jax.Array, dot: jax.Array) -> jax.Array:
    """Whether a number that begins here would be part of something before it; see `_NOT_AFTER`."""

    def before(by: int, letters: str) -> jax.Array:
        plain, dotted = (among(shifted(characters_M, -by - more), letters) for more in (0, 1))
        return jnp.where(dot, dotted, plain)

    opening = "-+("
    found = before(1, _WORD + "/^±}" + FRACTION + RAISED + ROOTS)
    found |= before(1, "_") & before(2, _WORD + ")}]")
    found |= before(1, "(") & before(2, string.ascii_letters + ROOTS)
    taken = latest(among(characters_M, TAKES), ~among(characters_M, TAKES + " "))
    found |= jnp.where(dot, shifted(taken, -2, False), shifted(taken, -1, False))
    found |= before(1, opening) & before(2, "^")
    found |= before(1, opening) & before(2, opening) & before(3, "^")
    found |= before(1, "+-") & before(2, "eE") & before(3, string.digits)
    found |= before(1, "[") & before(2, ROOTS)
    return found | _argument(characters_M)


def _argument(characters_M: jax.Array) -> jax.Array:
    """Whether a place is in the argument of a power, an index or a command of LaTeX."""
    opens, closes = among(characters_M, "{"), among(characters_M, "}")
    space = among(characters_M, " ")
    command = among(shifted(characters_M, -1), _WORD + "}]" + RAISED)
    command &= ~shifted(occurs(characters_M, "boxed"), -5, False)
    script = among(characters_M, SCRIPTS)
    command |= shifted(latest(script, ~script & ~space), -1, False)
    closes &= ~shifted(next_is(opens, ~space), 1, False)
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


def _joined(
    characters_M: jax.Array, digits: dict[int, jax.Array], mixed: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Whether a digit and the one before it are parts of one thing; and the one after it.

    Args:
        characters_M: the row.
        digits: of each place whether so many places after it there is a digit.
        mixed: spaces between groups of other kinds.
    """
    digit = digits[0]

    def here(letters: str) -> jax.Array:
        return among(characters_M, letters)

    bold = here("*") & (shifted(here("*"), 1, False) | shifted(here("*"), -1, False))
    opened, closed = here("{"), here("}")
    opened &= next_is(closed, closed | digit)
    closed &= latest(here("{"), digit)
    left, right = jnp.zeros((2, *digit.shape), bool)
    # What stands between, and of it what has to: from the right, and from the left.
    for gap, *signs in (
        (here(JOINTS), here(JOINTS), here(JOINTS)),
        (here(" " + TIMES), *[here(TIMES) & ~bold] * 2),
        (here(" " + OVER + BRACKETS), *[here(OVER)] * 2),
        (here(" ,.{}"), closed, opened),
    ):
        left |= gap & latest(digit, ~digit & ~gap) & latest(signs[0], digit)
        right |= gap & next_is(digit, ~gap) & next_is(signs[1], digit | signs[1])
    rest = here(" ") & digits[-1] & shifted(here("rR"), 1, False)  # 7 r3, 7 r 3
    close, apart = rest & digits[2], rest & shifted(here(" "), 2, False) & digits[3]
    left |= mixed | shifted(close, -1, False) | shifted(apart, -2, False)
    right |= mixed | close | apart
    return shifted(left, -1, False), shifted(right, 1, False)


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
    letter = functools.partial(among, letters=string.ascii_letters)
    digit = functools.partial(among, letters=string.digits)
    slash = among(characters_M, "\\")
    found, more = characters_M, jnp.zeros((size,), jnp.int32)  # places that a command goes on for
    for word, form in LATEX_WORDS.items():
        here = slash & occurs(ahead(1), word) & ~letter(ahead(len(word) + 1))
        found = jnp.where(here, ord(form), found)
        more = jnp.where(here, len(word), more)
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
