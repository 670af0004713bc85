"""star_jax/grading/device_latex.py; grading/device_numbers_test.py holds it against `numbers.plain` on rows of all kinds."""

import jax
import numpy as np
import pytest

from star_jax.grading import device_bytes, device_latex
from star_jax.tasks import number_text


def plain(texts: list[str], size: int = 32) -> list[str]:
    rows = np.full((len(texts), size), device_bytes.NOTHING, np.int32)
    for row, text in zip(rows, texts, strict=True):
        row[: len(text)] = list(map(ord, text))
    found = np.asarray(jax.jit(device_latex.plain)(rows))
    return ["".join(map(chr, row[row >= 0])) for row in found]


@pytest.mark.parametrize("word", number_text.LATEX_WORDS)
def test_a_word_of_latex_is_that_word_whole(word: str):
    texts = [
        *(f"a\\{word}{{7}}", f"\\{word}7", f"7\\{word}", f"\\{word}\\{word}"),
        *(f"\\{word}s", f"\\a{word}", f"\\{word[:-1]}", f"\\{word.swapcase()}", word),
    ]
    assert plain(texts) == [number_text.plain(text) for text in texts]
    assert plain(texts[:1]) != texts[:1] and plain(texts[4:5]) == texts[4:5]


def test_a_row_without_latex_is_as_long_as_it_was():
    assert plain(["−７,５ ⅔ x²", "7 {,} 5", ""]) == ["-7,5 ½ x²", "7 {,} 5", ""]
