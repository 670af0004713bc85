"""Prompts and answers of multiple-choice questions, as STaR writes those of CommonsenseQA.

    Q: What do people use to absorb extra ink from a fountain pen?
    Answer Choices:
    (a) shirt pocket
    (b) blotter
    A: The answer must be used to absorb extra ink. Blotters are. Therefore, the answer is
    blotter (b).

The text after "A:" is on one line. The hint is " (CORRECT)" after the right choice. An answer is a
letter.
"""

import re
from collections.abc import Iterable, Sequence

from star_jax.tasks.task import Problem

LETTERS = "abcde"
MARK = "(CORRECT)"
CUE = "Therefore, the answer is"

_LAST_LETTER = re.compile(rf"[^\n]*\(([{LETTERS}])\)\.?\s*")
_SAID = re.compile(
    r"\b(?:answer|choice|option)(?:\s+(?:is|must\s+be|should\s+be|would\s+be)\b\s*:?|\s*:)", re.I
)
# A letter after "the answer is"; "a" alone may be the article.
_OPENING_LETTER = re.compile(
    r"[\s\"'`*]*(?:(?:choice|option)\s+)?"
    r"(?:\(([a-z])\)|([a-z])(?:\)|[*\"'`]|[.,:;](?!\w)|\s+(?:because|since|as)\b|\s*$)"
    r"|([b-z])(?![\w'-]|\.\w))",
    re.I,
)
_DENIED = re.compile(r"\bnot\s+(?:(?:choice|option)\s+)?(?:\([a-z]\)|[a-z]\b)", re.I)
_ANY_LETTER = re.compile(
    r"\(([a-z])\)|\b(?:choice|option)\s+([b-z]|a(?=\W*(?:$|\s(?:is|was))))\b", re.I
)


def prompt(problem: Problem, hint: bool) -> str:
    """The text that a model continues, "Q: ..." to "A:"."""
    return f"Q: {message(problem, hint)}\nA:"


def message(problem: Problem, hint: bool) -> str:
    """The question with its choices; with `hint`, the right one is marked."""
    lines = [problem.question, "Answer Choices:"]
    for letter, text in zip(LETTERS, problem.choices, strict=False):
        mark = f" {MARK}" if hint and letter == problem.answer else ""
        lines.append(f"({letter}) {text}{mark}")
    return "\n".join(lines)


def conclude(reasons: str, text: str) -> str:
    """Returns a rationale: reasons, then the answer in words; `completion` adds the letter."""
    return f"{reasons} {CUE} {text}".strip()


def completion(rationale: str, answer: str) -> str:
    """Returns the rationale, which ends in the answer's words, and the letter.

    In a rationale without the words, "Therefore, the answer is" precedes the letter.
    """
    words = rationale.strip() if CUE in rationale else f"{rationale.strip()} {CUE}".strip()
    return f" {words} ({answer})."


def direct(problem: Problem) -> str:
    """The answer's words and letter, alone."""
    return f" {text_of(problem)} ({problem.answer})"


def text_of(problem: Problem) -> str:
    """The words of the right choice."""
    return problem.choices[LETTERS.index(problem.answer)]


def answer(text: str) -> str | None:
    """The letter in the parentheses that end a completion; None if there is none.

    They must be on one line with the last "Therefore, the answer is". Between the two may be
    anything but another letter in parentheses: two letters are no decision. Only a full stop and
    spaces may follow.
    """
    _, cue, rest = text.rpartition(CUE)
    return _only_letter(rest) if cue else None


def direct_answer(text: str) -> str | None:
    """The letter in the parentheses that end a completion of one line; None for anything else."""
    return _only_letter(text.strip())


def contradicts(problem: Problem, text: str) -> bool | None:
    """Returns whether a completion ends in one choice's letter and another's words: "cup (c)".

    None if it has no letter, or if its last words, spelt as they are, are those of no choice. Words
    that two choices share count for both.
    """
    letter, rest = answer(text), text.rpartition(CUE)[2]
    named = _mentioned(problem.choices, rest)
    return letter not in named[-1] if letter and named else None


def _only_letter(line: str) -> str | None:
    match = _LAST_LETTER.fullmatch(line)
    named = set(re.findall(rf"\(([{LETTERS}])\)", line))
    return match[1] if match and len(named) == 1 else None


def flexible(problem: Problem, text: str) -> str | None:
    """The letter of the choice that a completion settles on, in any words; None if it does not.

    The first of these that gives a letter decides:
    1. `answer`.
    2. The last line that says "the answer is", "answer:" or the like: the letter right after that;
       else the first letter in parentheses; else the choice whose words come first.
    3. The whole text: the last letter in parentheses, or "option b"; else the choice whose words
       come last.
    Only letters of the problem's choices count, in upper or lower case, and words as a whole. A
    letter after "not" counts in the first step alone. A completion that settles on words which two
    choices share names neither: only a letter says which of the two is meant.
    """
    letter = answer(text)
    if letter is not None and letter in LETTERS[: len(problem.choices)]:
        return letter
    cues = list(_SAID.finditer(text))
    if cues:
        line = text[cues[-1].end() :].lstrip().partition("\n")[0]
        named = [
            *_letters(problem.choices, filter(None, [_OPENING_LETTER.match(line)])),
            *_letters(problem.choices, _ANY_LETTER.finditer(_DENIED.sub("", line))),
            *_mentioned(problem.choices, line),
        ]
        if named:
            return _one(named[0])
    for named in (
        _letters(problem.choices, _ANY_LETTER.finditer(_DENIED.sub("", text))),
        _mentioned(problem.choices, text),
    ):
        if named:
            return _one(named[-1])
    return None


def _one(letters: str) -> str | None:
    return letters if len(letters) == 1 else None


def _letters(choices: Sequence[str], matches: Iterable[re.Match[str]]) -> list[str]:
    letters = [next(filter(None, match.groups())).lower() for match in matches]
    return [letter for letter in letters if letter in LETTERS[: len(choices)]]


def _mentioned(choices: Sequence[str], text: str) -> list[str]:
    """Returns the letters of the choices whose words are in `text`, in the text's order.

    If one choice's words contain another's, as "ice cream" contains "ice", the longer is meant.
    Words that several choices share give all of their letters: "bd".
    """
    words = [_plain(choice) for choice in choices]
    pattern = "|".join(re.escape(one) for one in sorted(words, key=len, reverse=True))
    mentions = re.findall(rf"(?<!\w)(?:{pattern})(?!\w)", _plain(text)) if words else []
    letters = dict.fromkeys(mentions, "")
    for letter, one in zip(LETTERS, words, strict=False):
        if one in letters:
            letters[one] += letter
    return [letters[one] for one in mentions]


def _plain(text: str) -> str:
    return " ".join(text.lower().split())
