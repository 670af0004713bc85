"""Finds rationalizations that reveal that their prompt had the answer.

A rationalization is trained on as if there had been no hint. A text that quotes the hint, appeals
to it, or states the answer before any reason teaches the model to guess. The checks look for
phrases that do not occur in honest reasoning. They count the plain cases, not every case.
"""

import re
from collections.abc import Sequence

_FLAGS = re.IGNORECASE
_MARKED = re.compile(
    r"\b(?:marked|labell?ed|flagged|indicated)\s+(?:as\s+)?(?:being\s+)?(?:the\s+)?"
    r"[(\"'`]*(?:correct|right|answer)\b",
    _FLAGS,
)
# "as given in the problem" cites the question, as honest solutions do.
_GIVEN = re.compile(
    r"\bas\s+given(?!\s+(?:in|by|above|that|to|for|on|from)\b)"
    r"|\b(?:the|this|our|with|matches)\s+(?:given|provided|known|stated)\s+answer\b"
    r"|\banswer\s+(?:(?:is|was|has\s+been|that\s+is|that\s+was)\s+)?(?:already\s+)?"
    r"(?:given|provided|(?:shown\s+|written\s+)?in\s+(?:the\s+)?(?:parenthes[ie]s|brackets))\b"
    r"|\b(?:the|this)\s+hint\b(?!\s+of\b)"
    r"|\b(?:we|i)\s+(?:already\s+)?(?:know|see|are\s+(?:told|given))\s+(?:that\s+)?"
    r"the\s+(?:correct\s+|right\s+|final\s+)?answer\s+(?:is|must\s+be|should\s+be)\b"
    r"|\b(?:since|because|given\s+that)\s+the\s+(?:correct\s+|right\s+|final\s+)?answer\s+is\b",
    _FLAGS,
)
# "The answer must be a container that ..." and "the answer is 7 * 2 = 14" only lead up to it.
_GOES_ON = (
    r"(?!\s*[-+*/×]\s*[\d(<]|\s+(?:that|which|where|who|whose|when|with|for|of|in|to|used)\b)"
)


def leaks(completion: str, *, marks: Sequence[str], answers: Sequence[str]) -> list[str]:
    """Returns the kinds of hint leak in a completion that was written with the hint.

    Args:
        completion: the generated text, answer included.
        marks: marks of the right answer in the prompt with the hint, such as "(CORRECT)"; none if
            the hint is the answer itself. Letter case is ignored.
        answers: every way to write the gold answer: "72"; "bank" and "(a)".

    Returns:
        Sorted kinds, [] for none.
        "answer first": it begins with the answer, before any reason ("The answer is 72", "72").
        "given": it appeals to the hint ("the given answer", "the hint says").
        "mark": it quotes the mark, or says that an answer is marked.
    """
    has_leak = {
        "answer first": _opens_with(completion, answers),
        "given": _GIVEN.search(completion) is not None,
        "mark": _MARKED.search(completion) is not None
        or any(mark.lower() in completion.lower() for mark in marks),
    }
    return sorted(kind for kind, is_present in has_leak.items() if is_present)


def _opens_with(completion: str, answers: Sequence[str]) -> bool:
    """Returns whether the first words are the answer alone, or say that it is the answer."""
    one = "|".join(re.escape(_plain(answer)) for answer in answers if answer.strip())
    if not one:
        return False
    answer = rf"[$\"'`(*]*(?:{one})(?:\s*\(?(?:{one}))?[)\"'`*%]*(?![\w-]|[.,/]\d)"
    noun = r"(?:(?:correct|right|final|best)\s+)?(?:answer|choice|option)"
    said = (
        r"(?:(?:therefore|so|thus|hence|clearly),?\s+)?(?:the\s+)?"
        rf"{noun}(?:\s+(?:is|must\s+be|should\s+be|would\s+be))?:?\s+(?:an?\s+|the\s+)?"
        rf"{answer}{_GOES_ON}"
    )
    alone = rf"(?:####\s*)?{answer}\s*[.!]?\s*(?:\n|$)"
    named = rf"{answer}\s+is\s+(?:the\s+)?(?:correct|right|(?:(?:correct|right)\s+)?answer)\b"
    return re.match(rf"\s*(?:{said}|{alone}|{named})", _plain(completion), _FLAGS) is not None


def _plain(text: str) -> str:
    """Removes the commas between thousands."""
    return re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text.strip())
