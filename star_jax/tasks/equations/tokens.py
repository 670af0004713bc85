r"""Splits a rationale into numbers, signs and words, for the search for equations.

Every token has its span in the text as written. Unicode's signs are read as their ASCII forms
(`number_text.FORMS`), and so are LaTeX's signs, fractions and units. A currency sign belongs to
its number. What may change a value in a way that is not known (2:30, 12,34, √, |, an exponent with
a sign) is a "bad" token.
"""

import functools
import re
import unicodedata
from fractions import Fraction
from typing import Literal, NamedTuple, cast

from star_jax.tasks import number_text

Kind = Literal["number", "sign", "(", ")", "%", "frac", "word", "=", "break", "bad"]

MOST_DIGITS = 30  # of a number, with its decimals; a longer one is a "bad" token
ANNOTATION = re.compile(r"<<([^<>]*)>>")  # of GSM8K's calculator

_NUMBER = re.compile(r"[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?|[0-9]+(?:\.[0-9]+)?|\.[0-9]+")
_MONEY = "[$€£¥₹]"
_FRACTION = "[¼-¾⅐-⅞↉]"
_TOKEN = re.compile(
    rf"""
      (?P<bad>\.{{2,}}|…)
    | (?P<break>\n|[,:;?"“”„«»\#]|\.(?![0-9])|\\[\[\]()\\]|[-=]{{1,9}}>|[!<>=]=+|=<|[<>~≈≠→⇒]
        |\\(?:approx|neq?|leq?|geq?|[rR]ightarrow|to|implies|therefore|quad)(?![a-z]))
    | (?P<mixed>(?:{_MONEY}\s?)?[0-9]{{1,6}}(?:\ |\ and\ )[0-9]{{1,4}}/[0-9]{{1,4}}(?![0-9/.,:^]))
    | (?P<halves>(?:{_MONEY}\s?)?(?:[0-9]{{1,6}}\ ?)?{_FRACTION})
    | (?P<spaced>(?:{_MONEY}\s?)?[1-9][0-9]{{0,2}}(?:\ [0-9]{{3}}){{1,4}}(?:\.[0-9]+)?
        (?![0-9.,:^']))
    | (?P<number>(?:{_MONEY}\s?)?(?:(?<![^\W\d_])\.)?[0-9]+(?:[.,:'][0-9]+)*)
    | (?P<times>(?<![^\W\d_])[xX](?=\s*(?:{_MONEY}\s?)?[0-9.(¼-¾])|\\(?:times|cdot)(?![a-z]))
    | (?P<over>//|\\div(?![a-z]))
    | (?P<power>\^\s?[0-9]{{1,2}}(?![0-9.,/])|\^\{{[0-9]{{1,2}}\}}|[²³]
        |(?<=[0-9)])\*\*[0-9]{{1,2}}(?![0-9.,/]))
    | (?P<cents>¢)
    | (?P<percent>\\?%|(?<=[0-9])\ ?per\s?cent\b)
    | (?P<frac>\\[dtc]?frac(?=\s*\{{))
    | (?P<word>\\(?:text|mathrm|mbox|textbf)\{{[^{{}}0-9]{{0,80}}\}}
        |[^\W\d_](?:[^\W_]|'(?=[^\W\d_])|-(?=[^\W\d_]))*(?:\^[23]|[²³])?
        |(?<=[0-9])-[^\W\d_](?:[^\W_]|['-](?=[^\W\d_]))*
        |(?<![0-9A-Za-z])\([A-Za-z][A-Za-z'\ -]{{1,60}}\))
    | (?P<space>[\s`]+|\\(?:left|right|q?quad|displaystyle)(?![a-z])|\\[,;:!\ $]
        |{_MONEY}|\\boxed\s?\{{|&(?=\s?=)|\*\*)
    | (?P<sign>[-+*/])
    | (?P<open>[([{{])
    | (?P<close>[)\]}}])
    | (?P<equals>=)
    """,
    re.VERBOSE,
)
_INVISIBLE = (*range(0x200B, 0x2010), 0xFEFF)
# Fractions and exponents keep their own characters; others that touch a number make it unknown.
_PLAIN = {
    code: "|" if plain == number_text.RAISED else plain
    for code, plain in number_text.MAP.items()
    if plain != number_text.FRACTION and chr(code) not in "²³"
} | dict.fromkeys(_INVISIBLE, " ")
_KINDS: dict[str, Kind] = {"open": "(", "close": ")", "equals": "=", "frac": "frac", "bad": "bad"}
_OPERANDS = ("number", "word", "%", ")")  # before a sign that joins two numbers
_SIGN_WORDS = {"times": "*", "plus": "+", "minus": "-"}


class Token(NamedTuple):
    """A part of a text.

    Attributes:
        kind: its class. "sign" is one of + - * / ^, "break" the end of a clause.
        start, end: span in the text.
        text: a sign's plain form, a power's exponent, a word's or a break's own text, and a
            number's digits without commas.
        value: a number's value, without regard to a percent sign.
        loose: True if it may mean something else: a dash of prose (—), a division that drops the
            remainder (//), a number such as 12 000, the comma of 14, 400.
    """

    kind: Kind
    start: int
    end: int
    text: str
    value: Fraction = Fraction(0)
    loose: bool = False


def tokens(text: str) -> list[Token]:
    """Returns the tokens of a text, in order; spaces and calculator annotations are left out."""
    written = ANNOTATION.sub(lambda match: " " * len(match[0]), text)
    plain = written.translate(_PLAIN)
    found: list[Token] = []
    position = 0
    while position < len(plain):
        match = _TOKEN.match(plain, position)
        if match is None:
            found.append(Token("bad", position, position + 1, plain[position]))
            position += 1
            continue
        position = match.end()
        if match.lastgroup != "space":
            found.append(_token(match, plain, found[-1] if found else None, written))
    return found


def _token(match: re.Match[str], plain: str, last: Token | None, written: str) -> Token:
    kind, text, (start, end) = match.lastgroup or "", match[0], match.span()
    make = functools.partial(Token, start=start, end=end)
    if kind in ("number", "mixed", "halves", "spaced"):
        return _number(kind, text, start)
    if kind == "break":
        return _break(plain, text, start, last)
    if kind == "percent":
        return make("%", text="%")
    if kind == "power":
        return make("sign", text="^" + re.sub("[^0-9]", "", text.translate({178: "2", 179: "3"})))
    variable = text in ("x", "X") and (last is None or last.kind not in _OPERANDS)
    if kind in ("times", "over", "sign") and not variable:
        sign = {"times": "*", "over": "/"}.get(kind, text)
        return make("sign", text=sign, loose=text == "//" or written[start] in "—―")
    if kind == "word" or variable:
        return _word(text, plain, start, end, last)
    if kind == "cents":
        return make("word", text="cents")
    return make(_KINDS[kind], text=text)


def _number(kind: str, text: str, start: int) -> Token:
    """Returns a number; a "bad" token where the digits are a number only in part."""
    end, digits = start + len(text), text.lstrip("$€£¥₹ ")
    money = "$" if digits != text else ""
    if kind == "halves":
        whole, part = digits[:-1].strip(), Fraction(unicodedata.numeric(digits[-1]))
        part = part.limit_denominator(10)
        return Token("number", start, end, f"{money}{whole} {part}".strip(), int(whole or 0) + part)
    if kind == "mixed":
        whole, above, below = map(int, re.findall("[0-9]+", digits))
        if not 0 < above < below:
            return Token("bad", start, end, text)
        spelt = f"{money}{whole} {above}/{below}"
        return Token("number", start, end, spelt, whole + Fraction(above, below), "and" in text)
    digits = digits.replace(" ", "")
    if not _NUMBER.fullmatch(digits) or re.match("0[0-9]", digits) or len(digits) > MOST_DIGITS:
        return Token("bad", start, end, text)
    digits = digits.replace(",", "")
    return Token("number", start, end, money + digits, Fraction(digits), kind == "spaced")


def _break(plain: str, text: str, start: int, last: Token | None) -> Token:
    """Returns the end of a clause; a full stop of an abbreviation or "2 . 5" is something else."""
    end, rest = start + len(text), plain[start + len(text) : start + len(text) + 3].lstrip(" ")
    follows = last is not None and plain[last.end : start] == ""
    kind, loose = cast(Kind, "break"), False
    if last is not None and last.kind == "word" and text == "." and follows:
        kind = "word" if rest[:1] in tuple("+*/=-") else kind
    elif last is not None and last.kind == "number" and rest[:1].isdigit():
        if text in (".", ":") and not follows:  # 2 . 5, 2 : 3
            kind = "bad"
        elif text == "," and follows and len(last.text) < 5:  # 14, 400
            loose = bool(re.match("[0-9]{3}(?![0-9])", plain[end : end + 5].lstrip(" ")))
    return Token(kind, start, end, "" if kind == "word" else text, loose=loose)


def _word(text: str, plain: str, start: int, end: int, last: Token | None) -> Token:
    """Returns a word, or the sign that it stands for ("times 5"); a function is a "bad" token."""
    before = last is not None and last.kind in _OPERANDS
    if text.lower() in _SIGN_WORDS and before and re.match(r"\s[$(]?[0-9]", plain[end : end + 3]):
        return Token("sign", start, end, _SIGN_WORDS[text.lower()], loose=True)
    if plain[end : end + 1] in tuple("([{"):
        return Token("bad", start, end, text)
    return Token("word", start, end, text.strip("()"))
