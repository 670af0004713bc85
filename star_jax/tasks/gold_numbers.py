r"""The number that an answer field gives: the whole of it, or what a solution in it comes to.

A part must not pass for the whole: the last number of "5-6", "2024-05-06" or "5 hours 30 minutes"
is no answer. So a field is cut where a solution goes on (at the marker, "=", \boxed{, the end of a
line or a sentence), and what stands between words in the last piece with digits is one number:

    ... 48 + 24 = 72.\n#### 72        72
    48 + 24 = 72 clips.               72
    about 7 apples                    7
    5-6 apples, 6 May 2024, 5 to 6    none

Where the piece has several, it must be of a solution, and the last one needs a clause of its own,
or some words: "She has 3 and buys 4, so there are 7." gives 7, "From 5 to 6." nothing.
"""

import re
import unicodedata

from star_jax.tasks import number_text

_CUT = r"=|\\boxed\s*\{|\n|[.!?](?=\s)|[。！？]"
# A word, with the exponent of a unit; a command of LaTeX is none.
_WORD = re.compile(r"(?<![\\A-Za-z])[^\W\d_²³¹¼-¾⁰-₉⅐-↉]+(?:[23²³](?![\d.]))?")
_CLAUSE = re.compile(r"[,;:]\s*[^\W\d_]")
# x = 3, y = 4 are two answers, and so are x = 3 or x = 4.
_ASSIGNED = re.compile(r"(?<![\w\\])([A-Za-z]) ?= ?[-+$0-9.,]+\s*(?=$|[,;\n]|and\b|or\b)")
_AROUND = " \t\r\n()[]{}*_`\"'“”‘’,;:.!?~≈"


def gold(field: str, marker: str) -> str | None:
    """The canonical form of the number that a field gives; None if it gives none, or is a guess.

    Args:
        field: an answer, or a solution that ends in one.
        marker: what stands before the answer of a solution, such as "####".
    """
    if marker not in field and _several(field):
        return None
    pieces = [p for p in re.split(f"{re.escape(marker)}|{_CUT}", field) if _has_digits(p)]
    if not pieces or number_text.canonical(field):
        return number_text.canonical(field)
    parts = [part for part in _WORD.split(pieces[-1]) if _has_digits(part)]
    solved = len(pieces) > 1 or field.rstrip().endswith((".", "!", "。"))
    if not parts or len(parts) > 1 and not (solved and _concludes(pieces[-1], parts[-1])):
        return None
    found = _bare(parts[-1])
    return found if found == number_text.last(field) else None  # what is read in a completion


def _several(field: str) -> bool:
    """Whether it gives several variables their values, or one of them several."""
    names = _ASSIGNED.findall(field)
    return len(set(names)) > 1 or len(names) > 1 and "\n" not in field.strip()


def _has_digits(text: str) -> bool:
    return any(unicodedata.category(character) in ("Nd", "No") for character in text)


def _concludes(sentence: str, part: str) -> bool:
    """Whether the last number of a sentence that has several is what the sentence comes to."""
    before = sentence[: sentence.rindex(part)]
    gap = before[max(i for i, character in enumerate(before) if _has_digits(character)) + 1 :]
    alone = _CLAUSE.search(gap + "x") or len(_WORD.findall(gap)) > 2
    return len(_WORD.findall(sentence)) > 3 and bool(alone)


def _bare(part: str) -> str | None:
    """The canonical form of a number with brackets and other marks around it."""
    while part:
        if found := number_text.canonical(part):
            return found
        if part[-1] in _AROUND + "$":
            part = part[:-1]
        elif part[0] in _AROUND:
            part = part[1:]
        else:
            break
    return None
