"""star_jax/grading/device_numbers.py, held against `numbers`: the same answers for rows of any characters."""

import functools
import random

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from star_jax.grading import device_bytes, device_latex, device_numbers
from star_jax.tasks import number_text
from tests.tasks.number_text_test import CASES

ROWS = 256
PIECES = [
    *"0123456789.,/:^'_-+eExA%$€− \n",
    *("10", "12", "345", "000", "1,234", "56,789", "1.5", ".5", "1e-5", "-$", "$-", "..", ", "),
    *number_text.MONEY,
    *(
        " 000",
        " 345",
        " 500",
        "12 000",
        "1 234",
        "1/2",
        " 1/2",
        " and 1/2",
        " - ",
        " x ",
        "* ",
        "¼",
    ),
    *(f"\\{word}" for word in number_text.LATEX_WORDS),
    *(f"\\{sign}" for sign in number_text.LATEX_SIGNS),
    *(
        "±",
        "+",
        "(",
        ")",
        "/(",
        ")/",
        "(-",
        " + ",
        " & ",
        "**",
        "i",
        " r",
        " R ",
        "boxed{",
        "1,234 567",
    ),
    *(",1.2 345", ",0€\n 000", ",12 345", "{,}0"),
    *("½ ", "√ ", "} {", "{ }", "{,} ", "_7_", "0.(", ".²", "f("),
    *("{", "}", "{2}", "{,}", "}{", "[", "]{", "\\", "~", "_", "^{", "^\\circ", "{10}", "(-"),
    *("(", ")", "]", "=", "½", "٣", "\u00a0", "\u2028", "\u3000", "é", "\U0001f600", "\ud800"),
    *"".join(number_text.FORMS.values()),
    *"７５．，－％（Ａ",
]


@functools.partial(jax.jit, static_argnames="last")
def _found(characters_BxM: jax.Array, last: bool):
    def one(row):
        number = device_numbers.find(row, last)
        return device_numbers.spell(row, number), number.start, row

    return jax.vmap(one)(device_latex.plain(characters_BxM))


def found(texts: list[str], last: bool, size: int = 64) -> list[tuple[str | None, int]]:
    """What the device reads in each text, spelled out, and where it begins."""
    rows = np.full((ROWS, size), device_bytes.NOTHING, np.int32)
    for row, text in zip(rows, texts, strict=False):
        row[: len(text)] = list(map(ord, text))
    spelling, start, plain = jax.tree.map(np.asarray, _found(rows, last))
    read = ["".join(map(chr, row[row >= 0])) for row in plain[: len(texts)]]
    assert read == list(map(number_text.plain, texts))
    return [
        (_spelled(text, *(part[i] for part in spelling)), int(start[i]))
        for i, text in enumerate(read)
    ]


def _spelled(text: str, found: bool, negative: bool, zero: bool, kept: np.ndarray) -> str | None:
    digits = "".join(char for char, keep in zip(text, kept, strict=False) if keep)
    return "-" * bool(negative) + "0" * bool(zero) + digits if found else None


def check(texts: list[str], size: int = 64) -> None:
    assert [text for text, _ in found(texts, True, size)] == list(map(number_text.last, texts))
    firsts = [text if not start else None for text, start in found(texts, False, size)]
    assert firsts == list(map(number_text.leading, texts))


def test_the_cases_of_the_host():
    check([text for text, *_ in CASES], 5000)


@pytest.mark.parametrize("seed", range(64))
def test_it_reads_what_the_host_reads(seed: int):
    rng = random.Random(seed)
    pieces = [PIECES[:42], PIECES, [*PIECES[:150], *PIECES[:42]]][seed % 3]
    check(["".join(rng.choices(pieces, k=rng.randrange(13)))[:64] for _ in range(ROWS)])


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.text(max_size=64) | st.text("0123456789.,-$ e/x{}\\^_", max_size=64), max_size=ROWS)
)
def test_it_reads_what_the_host_reads_in_any_text(texts: list[str]):
    check(texts)
