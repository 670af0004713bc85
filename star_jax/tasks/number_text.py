r"""Finds numbers in text, gives their canonical form, and evaluates a written-out sum.

A number is decimal digits. It may have a minus sign, a currency sign, commas or single spaces
between groups of three, a decimal point and a percent sign: -3, $1,234.50, 12 000, 50%, .5. Its
canonical form is the plain decimal without needless zeros: -3, 1234.5, 12000, 50, 0.5. The percent
sign changes nothing: 50% is 50, as a question about per cent expects.

Text that is a number only in part is none: a part must never pass for the whole. No number is found
in 1/2, 2 1/2, 2½, 10:30, 2^3, cm^2, 1e5, 3x4, 3 * 4, 1.2.3, 12,34, A4, 2π or 5². Words after a
number are ignored (5 million is 5), and so is the unit of 30cm. A minus sign counts if nothing but
a space or an opening sign is before it: 12-5 and COVID-19 end in 5 and 19, =-5 in -5.

Spelling does not matter. Minus signs, dashes, spaces, slashes, signs of multiplication and
full-width characters of Unicode are read as their ASCII forms (`MAP`), and so is LaTeX (`_LATEX`):
9{,}500 and 9\,500 are 9500; \boxed{72} holds 72; \frac{3}{4}, 2^{10} and \sqrt{2} hold no number.
"""

import itertools
import re
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

MINUS = "-"
MONEY = "$€£¥₹"
JOINTS = ".,/:^'*_("  # join two numbers into one expression, as in 10:30 and 3(4)
TIMES = "*/^xX±"  # join numbers with spaces around the sign too; ** is bold in Markdown
OVER = "/^"  # join numbers with brackets and signs too: (1)/(-2)
BRACKETS = "(){}+-"
ROOTS = "√π"
FRACTION = "½"  # plain form of every fraction character and of LaTeX's \frac
RAISED = "²"  # plain form of characters that a number's digits never touch: ², ₂, invisible ones

# Plain form -> the characters of Unicode that are read as it, one for one.
FORMS = {
    "-": "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u02d7\u2796\ufe58\ufe63",
    " ": "\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f"
    "\u205f\u3000",
    "/": "\u2044\u2215\u00f7",
    "*": "\u00d7\u00b7\u2219\u22c5\u2217\u2715",
    "'": "\u2018\u2019\u2032\u2033",
    ":": "\u2236",
    ".": "\u066b",
    ",": "\u066c",
    FRACTION: "¼½¾" + "".join(map(chr, (*range(0x2150, 0x2160), 0x2189))),
    RAISED: "²³¹"
    + "".join(map(chr, range(0x2070, 0x209D)))
    # digits of other kinds
    + "".join(map(chr, (*range(0x660, 0x66A), *range(0x6F0, 0x6FA), *range(0x966, 0x970))))
    + "".join(map(chr, (*range(0x2460, 0x249C), *range(0x1D7CE, 0x1D800))))
    # invisible characters: they join the characters around them
    + "\u00ad\u034f\u200b\u200c\u200d\u200e\u200f\u2060\u2061\u2062\u2063\u2064\ufe0e\ufe0f\ufeff"
    "\u20e3",
    "√": "∛∜",
}
FULL_WIDTH = (0xFF01, 0xFF5E, 0xFF01 - ord("!"))  # first, last, distance from ASCII
MAP = {ord(char): plain for plain, chars in FORMS.items() for char in chars}
MAP |= {code: chr(code - FULL_WIDTH[2]) for code in range(FULL_WIDTH[0], FULL_WIDTH[1] + 1)}
"""Code of a character -> its plain form, for `str.translate`."""

# LaTeX command -> its plain form. A letter after a command makes it another command.
LATEX_WORDS = {
    **dict.fromkeys(("frac", "dfrac", "tfrac", "cfrac"), FRACTION),
    **dict.fromkeys(("sqrt", "log", "ln", "exp", "sin", "cos", "tan"), "√"),
    **{"pi": "π", "pm": "±", "times": "*", "cdot": "*", "overline": RAISED},
    **dict.fromkeys(("div", "over", "slash"), "/"),
    **dict.fromkeys(("boxed", "fbox", "text", "textbf", "textit", "mathbf", "mathrm"), " "),
    **dict.fromkeys(("mathit", "bm", "boldsymbol", "mbox", "emph", "underline"), " "),
    **dict.fromkeys(("num", "qty", "SI", "mathord", "thinspace"), " "),
}
LATEX_SIGNS = {**dict.fromkeys(",;: ", " "), **{sign: sign for sign in "$%"}, "!": ""}
_LATEX = re.compile(
    rf"\\(?P<word>{'|'.join(LATEX_WORDS)})(?![A-Za-z])"
    rf"|\\(?P<sign>[{''.join(LATEX_SIGNS)}])"
    r"|(?<=[0-9])\{(?P<comma>,)\}(?=[0-9])|(?<=[0-9])(?P<tie>~)(?=[0-9])"
)

# Digits with the separators between them. Such a cluster is one whole number or no number.
_THREE = re.compile("[0-9]{3}(?![0-9])")
_COMMA_GROUP = re.compile("[0-9],[0-9]{3}")
_CLUSTER = re.compile(r"(?:[1-9][0-9]{0,2}(?: [0-9]{3}(?![0-9]))+|[0-9]+)(?:[.,](?=[0-9])[0-9]+)*")
_DIGITS = re.compile(
    r"(?:[1-9][0-9]{0,2}(?:(?:,[0-9]{3})+|(?: [0-9]{3})+)|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+"
)
_SIGN = re.compile(rf"(?<![A-Za-z0-9)%\]}}{RAISED}{FRACTION}-])-\Z")
# A number does not begin inside a word or an index, nor after a sign of a larger expression.
_NOT_AFTER = re.compile(
    rf"(?:[A-Za-z0-9/^±}}{FRACTION}{RAISED}{ROOTS}]|[A-Za-z0-9)}}\]]_|\^[-+(]|\^[-+(][-+(]"
    rf"|[0-9][eE][-+]|[{ROOTS}]\[|[A-Za-z{ROOTS}]\()\Z"
)
TAKES = "√" + FRACTION  # a number after one of these and spaces is a part of it
# A larger expression goes on after it: a power, index, root or fraction, letters with digits, i.
_NOT_BEFORE = re.compile(
    rf"\.?[{RAISED}]|[ +&-]*[{FRACTION}{ROOTS}]| and {FRACTION}"
    r"|\^(?!\\|\{\\)|_[A-Za-z{]|[A-Za-z]+[-+]?[0-9]|i(?![A-Za-z])"
)
# The text between two clusters that joins them into one expression.
_TIMES = rf"(?:[{TIMES.replace('*', '')}]|(?<!\*)\*(?!\*))"
_JOINED = re.compile(
    rf"[{JOINTS}]+|[ {TIMES}]*{_TIMES}[ {TIMES}]*"
    rf"|[ {OVER}{BRACKETS}]*[{OVER}][ {OVER}{BRACKETS}]*|[ ,.{{}}]*\{{[ ,.{{}}]*\}}[ ,.{{}}]*"
    r"| [rR] ?"
)
_MIXED = re.compile(r"[ +&-]+| and ")  # the text between a whole number and its fraction
_WORD_BEFORE = re.compile(r"[A-Za-z0-9_.]\.")  # a point that does not belong to the number
_BRACE = re.compile(r"[{}\n]")
_OPENS = re.compile(r" *\{")
_COMMAND = re.compile(rf"[A-Za-z0-9}}\]{RAISED}]")  # before a "{" that opens an argument
SCRIPTS = "^_" + TAKES  # before such a "{" and spaces
_TOKEN = re.compile(rf"\s*(?:(?P<digits>{_DIGITS.pattern})|(?P<sign>[-+*/()%]))")
_MOST_NESTED = 50  # parentheses in one another: Python's own stack ends at a thousand calls


class _Number(NamedTuple):
    """The span of a number in a plain text, and its canonical form."""

    start: int
    end: int
    canonical: str


def canonical(text: str) -> str | None:
    """Returns the canonical form of a text that is one number and nothing else, or None.

    Spaces around it are allowed, and a full stop after it.
    """
    text = plain(text)
    for number in _numbers(text):
        rest = text[number.end :].lstrip().removeprefix("%").removeprefix(".")
        return None if text[: number.start].strip() or rest.strip() else number.canonical
    return None


def leading(text: str) -> str | None:
    """The canonical form of the number that a text begins with; None if it begins with none."""
    number = next(_numbers(plain(text)), None)
    return number.canonical if number and not number.start else None


def last(text: str) -> str | None:
    """The canonical form of the last number in a text; None if there is none."""
    *_, number = (None, *_numbers(plain(text)))
    return number.canonical if number else None


def every(text: str) -> set[str]:
    """The canonical forms of all numbers in a text."""
    return {number.canonical for number in _numbers(plain(text))}


def plain(text: str) -> str:
    """Returns a text with signs of Unicode and LaTeX in their plain forms."""
    return _LATEX.sub(_plain_latex, text.translate(MAP))


def _plain_latex(match: re.Match[str]) -> str:
    if match["word"]:
        return LATEX_WORDS[match["word"]]
    return LATEX_SIGNS[match["sign"]] if match["sign"] else "," if match["comma"] else " "


def _numbers(text: str) -> Iterator[_Number]:
    """Yields the numbers of a plain text, in order."""
    clusters = [match.span() for match in _CLUSTER.finditer(text)]
    gaps = [text[a:b] for (_, a), (b, _) in itertools.pairwise(clusters)]
    bounds = ((a, b) for (_, a), (b, _) in itertools.pairwise(clusters))
    joined = [False, *(_are_joined(text, a, b) for a, b in bounds), False]
    arguments = _arguments(text)
    for i, (start, end) in enumerate(clusters):
        fraction_next = i < len(gaps) and joined[i + 2] and _MIXED.fullmatch(gaps[i])
        if joined[i] or joined[i + 1] or fraction_next or _NOT_BEFORE.match(text, end):
            continue
        if text.endswith(".", 0, start) and not _WORD_BEFORE.match(text, max(start - 2, 0)):
            start -= 1
        before = text[max(start - 4, 0) : start]
        digits = text[start:end]
        if not _DIGITS.fullmatch(digits) or _NOT_AFTER.search(before):
            continue
        if _last_before(text, start) in TAKES:
            continue
        if any(opened < start < closed for opened, closed in arguments):
            continue
        begin, negative = _signs(text, start)
        yield _Number(begin, end, _plain_digits(digits, negative))


def _are_joined(text: str, end: int, start: int) -> bool:
    """Returns whether the clusters around a gap are parts of one expression, such as 1/(2)."""
    if _JOINED.fullmatch(text, end, start):
        return True
    groups = start == end + 1 and text[end] == " " and _THREE.match(text, start)
    return bool(groups and end >= 5 and _COMMA_GROUP.match(text, end - 5))  # 1,234 567


def _last_before(text: str, end: int) -> str:
    """Returns the last character of text[:end] that is no space; a line break if there is none."""
    while end and text[end - 1] == " ":
        end -= 1
    return text[end - 1] if end else "\n"


def _arguments(text: str) -> list[tuple[int, int]]:
    """Returns spans of arguments of powers, indices, commands: "{" to "}" or the line's end."""
    spans, opened = [], None
    for match in _BRACE.finditer(text) if "{" in text else ():
        start = match.start()
        if match[0] == "{":
            if opened is None and _is_argument(text, start):
                opened = start
        elif opened is not None and (match[0] == "\n" or not _OPENS.match(text, start + 1)):
            spans.append((opened, start))
            opened = None
    return spans if opened is None else [*spans, (opened, len(text))]


def _is_argument(text: str, brace: int) -> bool:
    """Returns whether the "{" at `brace` opens the argument of a power, an index or a command."""
    command = brace and _COMMAND.match(text, brace - 1) and text[max(brace - 5, 0) : brace]
    return bool(command and command != "boxed") or _last_before(text, brace) in SCRIPTS


def _signs(text: str, start: int) -> tuple[int, bool]:
    """Returns the start of a number's signs, and whether it is negative."""
    late = text[start - 1 : start] == "-" and text[max(start - 2, 0) : start - 1] in tuple(MONEY)
    start -= late
    start -= text[max(start - 1, 0) : start] in tuple(MONEY)
    minus = _SIGN.search(text[max(start - 2, 0) : start]) is not None
    return start - minus, bool(late or minus)


def _plain_digits(digits: str, negative: bool) -> str:
    """Returns the canonical form, made as a string: the number may be too long for an int."""
    whole, _, decimals = _ungrouped(digits).partition(".")
    whole, decimals = whole.lstrip("0") or "0", decimals.rstrip("0")
    number = f"{whole}.{decimals}" if decimals else whole
    return f"-{number}" if negative and number != "0" else number


def _ungrouped(digits: str) -> str:
    return digits.replace(",", "").replace(" ", "")


def value(expression: str) -> Fraction | None:
    """Returns the exact value of a sum such as "(3+4.5)*2", with + - * / % and parentheses.

    Here 50% is a half. Signs of other kinds (−, ×, x, ÷, $) and spaces are understood. The value is
    None if the text is anything else, or nests more than 50 parentheses.

    Raises:
        ZeroDivisionError: it divides by zero.
    """
    try:
        tokens = _tokens(plain(expression).translate(_PLAIN_SIGNS))
        result = _sum(tokens, 0)
    except (_NotASum, IndexError):
        return None
    return None if tokens else result


_PLAIN_SIGNS = str.maketrans({"x": "*", "$": " "})


class _NotASum(Exception):
    pass


def _tokens(text: str) -> list[Fraction | str]:
    """Returns the numbers and signs of a text in reverse order."""
    tokens: list[Fraction | str] = []
    text, start = text.rstrip(), 0
    while start < len(text):
        match = _TOKEN.match(text, start)
        if match is None or len(match[0]) > 1000:
            raise _NotASum
        digits = match["digits"]
        tokens.append(Fraction(_ungrouped(digits)) if digits else match["sign"])
        start = match.end()
    return tokens[::-1]


def _sum(tokens: list[Fraction | str], nested: int) -> Fraction:
    total = _product(tokens, nested)
    while tokens and tokens[-1] in ("+", "-"):
        sign = tokens.pop()
        term = _product(tokens, nested)
        total += term if sign == "+" else -term
    return total


def _product(tokens: list[Fraction | str], nested: int) -> Fraction:
    product = _factor(tokens, nested)
    while tokens and tokens[-1] in ("*", "/"):
        sign = tokens.pop()
        factor = _factor(tokens, nested)
        product = product * factor if sign == "*" else product / factor
    return product


def _factor(tokens: list[Fraction | str], nested: int) -> Fraction:
    sign = 1
    while tokens[-1] in ("+", "-"):
        sign = -sign if tokens.pop() == "-" else sign
    factor = tokens.pop()
    if factor == "(" and nested < _MOST_NESTED:
        factor = _sum(tokens, nested + 1)
        if tokens.pop() != ")":
            raise _NotASum
    if isinstance(factor, str):
        raise _NotASum
    while tokens and tokens[-1] == "%":
        tokens.pop()
        factor /= 100
    return sign * factor
