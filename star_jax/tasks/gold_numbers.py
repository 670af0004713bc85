r"""Finds the gold number in an answer field: the whole field, or the result of a solution in it.

A part must not pass for the whole: the last number of "5-6", "2024-05-06" or "5 hours 30 minutes"
is no answer. So a field is cut where a solution goes on (at the marker, "=", \boxed{, the end of a
line or a sentence). The last piece with digits must have one number between its words:

    ... 48 + 24 = 72.\n#### 72        72
    48 + 24 = 72 clips.               72
    about 7 apples                    7
    5-6 apples, 6 May 2024, 5 to 6    none

If the piece has several numbers, it must be part of a solution, and the last number needs a clause
of its own or some words: "She has 3 and buys 4, so there are 7." gives 7, "From 5 to 6." nothing.
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
    """Returns the canonical form of a field's number; None without one, or if it is a guess.

    Args:
        field: an answer, or a solution that ends in one.
        marker: text before the answer of a solution, such as "####".
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
    number = _bare(parts[-1])
    return number if number == number_text.last(field) else None  # as a completion is graded


def _several(field: str) -> bool:
    """Returns whether a field gives values to several variables, or several to one of them."""
    names = _ASSIGNED.findall(field)
    return len(set(names)) > 1 or len(names) > 1 and "\n" not in field.strip()


def _has_digits(text: str) -> bool:
    return any(unicodedata.category(character) in ("Nd", "No") for character in text)


def _concludes(sentence: str, part: str) -> bool:
    """Returns whether the last of a sentence's several numbers is the sentence's result."""
    before = sentence[: sentence.rindex(part)]
    gap = before[max(i for i, character in enumerate(before) if _has_digits(character)) + 1 :]
    alone = _CLAUSE.search(gap + "x") or len(_WORD.findall(gap)) > 2
    return len(_WORD.findall(sentence)) > 3 and bool(alone)


def _bare(part: str) -> str | None:
    """Returns the canonical form of a number with brackets and other marks around it."""
    while part:
        if number := number_text.canonical(part):
            return number
        if part[-1] in _AROUND + "$":
            part = part[:-1]
        elif part[0] in _AROUND:
            part = part[1:]
        else:
            break
    return None
