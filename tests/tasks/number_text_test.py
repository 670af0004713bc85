import re
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

import texts
from star_jax.tasks import number_text

# text; canonical (the whole text is one number), leading (it begins with one), last (it has one)
CASES = [
    # plain
    ("0", "0", "0", "0"),
    ("72", "72", "72", "72"),
    ("-3", "-3", "-3", "-3"),
    ("−3", "-3", "-3", "-3"),
    ("-0", "0", "0", "0"),
    ("007", "7", "7", "7"),
    ("12.00", "12", "12", "12"),
    ("12.50", "12.5", "12.5", "12.5"),
    (".5", "0.5", "0.5", "0.5"),
    ("-.5", "-0.5", "-0.5", "-0.5"),
    ("0.0", "0", "0", "0"),
    ("00.10", "0.1", "0.1", "0.1"),
    ("9" * 5000, "9" * 5000, "9" * 5000, "9" * 5000),
    # around it
    (" 72 ", "72", None, "72"),
    ("72.", "72", "72", "72"),
    ("72.\n", "72", "72", "72"),
    ("72..", None, "72", "72"),
    ("72!", None, "72", "72"),
    ("72 apples", None, "72", "72"),
    ("about 72", None, None, "72"),
    ("**72**", None, None, "72"),
    (r"\boxed{72}", None, None, "72"),
    ("(72)", None, None, "72"),
    ("x=72", None, None, "72"),
    ("x=-72", None, None, "-72"),
    ("72=", None, "72", "72"),
    ("Answer:72", None, None, "72"),
    ("'72'", None, None, "72"),
    ("It is 72, I think.", None, None, "72"),
    ("It is 72.Done", None, None, "72"),
    ("so...72", None, None, "72"),
    ("is.5", None, None, "5"),
    ("总共72个", None, None, "72"),
    # money, per cent, units
    ("$12", "12", "12", "12"),
    ("$12.00", "12", "12", "12"),
    ("$.50", "0.5", "0.5", "0.5"),
    ("-$5", "-5", "-5", "-5"),
    ("$-5", "-5", "-5", "-5"),
    ("€1,234.50", "1234.5", "1234.5", "1234.5"),
    ("US$5", None, None, "5"),
    ("$5/hour", None, "5", "5"),
    ("50%", "50", "50", "50"),
    ("50 %.", "50", "50", "50"),
    ("30cm", None, "30", "30"),
    ("the 4th", None, None, "4"),
    ("5 million", None, "5", "5"),
    # commas
    ("1,234", "1234", "1234", "1234"),
    ("1,234,567.80", "1234567.8", "1234567.8", "1234567.8"),
    ("-1,000", "-1000", "-1000", "-1000"),
    ("1,234,", None, "1234", "1234"),
    ("1, 234", None, "1", "234"),
    ("12,34", None, None, None),
    ("1,2,3", None, None, None),
    ("1234,567", None, None, None),
    ("1,2345", None, None, None),
    ("0,123", None, None, None),
    # never a part
    ("1/2", None, None, None),
    ("1 / 2", None, None, None),
    ("1.2.3", None, None, None),
    ("10:30", None, None, None),
    ("2^3", None, None, None),
    ("5²", None, None, None),
    ("2½", None, None, None),
    ("1e5", None, None, None),
    ("1e-5", None, None, None),
    ("3x4", None, None, None),
    ("3 x 4", None, None, None),
    ("3 * 4", None, None, None),
    ("3*4=12", None, None, "12"),
    ("12 cm^2", None, "12", "12"),
    ("x/2", None, None, None),
    ("2π", None, None, None),
    ("√2", None, None, None),
    ("log₂8", None, None, None),
    ("7...8", None, None, None),
    ("[8]", None, None, "8"),
    # mixed numbers and fractions, however they are written
    ("5 3/4", None, None, None),
    ("5-3/4", None, None, None),
    ("5 and 3/4", None, None, None),
    ("5 and 3", None, "5", "3"),
    ("5 3", None, "5", "3"),
    ("3⁄4", None, None, None),
    ("3∕4", None, None, None),
    ("3 ÷ 4", None, None, None),
    ("5¾", None, None, None),
    ("5 ⅝", None, None, None),
    ("5-⅓", None, None, None),
    ("5 and ½", None, None, None),
    ("⅓", None, None, None),
    ("⅟3", None, None, None),
    ("in 2020 1/5 of 40", None, None, "40"),
    # thousands in groups
    ("12 000", "12000", "12000", "12000"),
    ("7\u00a0250", "7250", "7250", "7250"),
    ("7\u202f250.50", "7250.5", "7250.5", "7250.5"),
    ("-$1\u2009000\u2009000", "-1000000", "-1000000", "-1000000"),
    ("1 000 000 000", "1000000000", "1000000000", "1000000000"),
    ("12 000 5", None, "12000", "5"),
    ("12 0000", None, "12", "0"),
    ("1234 567", None, "1234", "567"),
    ("0 123", None, "0", "123"),
    ("1.5 250", None, "1.5", "250"),
    ("1,234 567", None, None, None),
    ("1,234 56", None, "1234", "56"),
    ("0,1€\n 000", None, None, "0"),
    ("5,1.2 345", None, None, "345"),
    ("1234 000", None, "1234", "0"),
    ("12 345,678", None, None, None),
    ("2 500/3", None, None, None),
    ("12  000", None, "12", "0"),
    ("12\n000", None, "12", "0"),
    # LaTeX
    (r"9{,}500", "9500", "9500", "9500"),
    (r"$1{,}234{,}567$", None, "1234567", "1234567"),
    (r"9\,500", "9500", "9500", "9500"),
    (r"9,\!500", "9500", "9500", "9500"),
    (r"9~500", "9500", "9500", "9500"),
    (r"3{,}14", None, None, None),
    (r"-\$7.50", "-7.5", "-7.5", "-7.5"),
    (r"40\%", "40", "40", "40"),
    (r"\boxed{-7}", None, None, "-7"),
    (r"\boxed{\text{7 apples}}", None, None, "7"),
    (r"\(7\)", None, None, "7"),
    (r"7\\", None, "7", "7"),
    (r"7^\circ", None, "7", "7"),
    (r"7\text{ m}^2", None, "7", "7"),
    (r"\frac{5}{8}", None, None, None),
    (r"\dfrac58", None, None, None),
    (r"\frac5{8}", None, None, None),
    (r"\frac{9 - 4}{8}", None, None, None),
    (r"7\frac{5}{8}", None, None, None),
    (r"7 \tfrac58", None, None, None),
    (r"\sqrt{7}", None, None, None),
    (r"\sqrt[3]{7}", None, None, None),
    (r"5\sqrt{7}", None, None, None),
    (r"3^{7}", None, None, None),
    (r"10^{-7}", None, None, None),
    (r"2.5 \times 10^{7}", None, None, None),
    (r"5\cdot7", None, None, None),
    (r"6 \div 4", None, None, None),
    (r"6 \over 4", None, None, None),
    (r"5\pi", None, None, None),
    (r"a_{7}", None, None, None),
    (r"1011_{2}", None, None, None),
    (r"\binom{7}{2}", None, None, None),
    (r"\frac {5} {8}", None, None, None),
    (r"\frac{5}8", None, None, None),
    (r"\frac 58", None, None, None),
    (r"7 \sqrt 3", None, None, None),
    (r"\log 7", None, None, None),
    (r"\sin{30}", None, None, None),
    ("f(7)", None, None, None),
    ("(7)", None, None, "7"),
    (r"0.\overline{6}", None, None, None),
    (r"0.1\overline{6}", None, None, None),
    ("0.(6)", None, None, None),
    (r"7\text{,}250", None, None, None),
    ("7{ }250", None, None, None),
    (r"7{.}5", None, None, None),
    (r"\num{72}", None, None, "72"),
    (r"\boldsymbol{72}", None, None, "72"),
    ("boxed{72}", None, None, "72"),
    # with brackets and signs
    ("(5)/(8)", None, None, None),
    ("5/(8)", None, None, None),
    ("{5}/{8}", None, None, None),
    ("5/−8", None, None, None),
    ("7 + 5/8", None, None, None),
    ("7+⅝", None, None, None),
    ("7 & 5/8", None, None, None),
    ("7 ± 1", None, None, None),
    (r"7 \pm 1", None, None, None),
    ("±7", None, None, None),
    ("7 r3", None, None, None),
    ("7 R 3", None, None, None),
    ("7i", None, None, None),
    ("7 in", None, "7", "7"),
    # Markdown
    ("_72_", None, None, "72"),
    ("__72__", None, None, "72"),
    ("*72*", None, None, "72"),
    ("**72** (60 + 12)", None, None, "12"),
    ("**72** is 60 + 12", None, None, "12"),
    ("Step 1: 60 + 12 = **72**", None, None, "72"),
    # digits of other kinds
    ("7𝟐", None, None, None),
    ("7٢", None, None, None),
    (r"\boxed{7", None, None, "7"),
    (r"\frac{7", None, None, None),
    # invisible characters join what they stand between
    ("12\u200b500", None, None, None),
    ("7\ufe0f\u20e3", None, None, None),
    # full width
    ("７２", "72", "72", "72"),
    ("－１，２３４．５％", "-1234.5", "-1234.5", "-1234.5"),
    ("１／２", None, None, None),
    ("A4", None, None, None),
    ("x_2", None, None, None),
    ("1_000", None, None, None),
    ("5'10", None, None, None),
    ("see 7, not 1/2", None, None, "7"),
    # signs
    ("12-5", None, "12", "5"),
    ("12 - 5", None, "12", "5"),
    ("12 -5", None, "12", "-5"),
    ("$12-$5", None, "12", "5"),
    ("(3)-5", None, None, "5"),
    ("50%-5", None, "50", "5"),
    ("COVID-19", None, None, "19"),
    ("--5", None, None, "5"),
    *((f"{minus}5", "-5", "-5", "-5") for minus in "‐‑‒–—―−﹘﹣－"),
    *((f"x ={minus}$5", None, None, "-5") for minus in "‑–﹣－"),
    *((f"12{minus}5", None, "12", "5") for minus in "‑–﹣－"),
    ("1e−5", None, None, None),
    ("10⁻⁵", None, None, None),
    ("- 5 apples", None, None, "5"),
    ("+5", None, None, "5"),
    ("48/2=24", None, None, "24"),
    ("<<48+24=72>>72 clips", None, None, "72"),
    # none
    ("", None, None, None),
    ("-", None, None, None),
    (".", None, None, None),
    ("$", None, None, None),
    ("%", None, None, None),
    ("twelve", None, None, None),
    ("\u0661\u0662", None, None, None),  # digits that are not ours
]


@pytest.mark.parametrize(("text", "canonical", "leading", "last"), CASES, ids=range(len(CASES)))
def test_one_number(text: str, canonical: str | None, leading: str | None, last: str | None):
    assert number_text.canonical(text) == canonical
    assert number_text.leading(text) == leading
    assert number_text.last(text) == last


def test_every_number():
    assert number_text.every("12 eggs at $1,200.50, 1/2 of them, are -12.0; 12.") == {
        "12",
        "1200.5",
        "-12",
    }
    assert number_text.every("none") == set()


def test_the_last_of_several():
    assert number_text.last("He had 3, then $1,200.50; in the end -4.") == "-4"
    assert number_text.last("He had 3 and then 1/2") == "3"


@given(st.decimals(-(10**9), 10**9, allow_nan=False, places=3))
def test_every_way_to_write_a_number_is_one_canonical_form(number: Decimal):
    canonical = number_text.canonical(str(number))
    assert canonical is not None and Decimal(canonical) == number
    sign, size = "-" if number < 0 else "", abs(number)
    for text in (f"{number:,}", f"{sign}${size:,}", f"${number}", f"{number}%", f"{number}00."):
        assert number_text.canonical(text) == canonical
        assert number_text.leading(text) == canonical
        assert number_text.last(f"It is {text}") == canonical
    assert number_text.canonical(canonical) == canonical


@given(st.text("0123456789.,-$% /x=\n½–{}^", max_size=20))
def test_whatever_is_found_is_written_there(text: str):
    digits = re.sub("[^0-9.]", "", text)
    for found in (number_text.canonical(text), number_text.leading(text), number_text.last(text)):
        if found is not None:
            assert found.lstrip("-").removeprefix("0.") in digits
            assert number_text.canonical(found) == found
    if number_text.canonical(text) is not None:
        assert number_text.last(text) == number_text.canonical(text)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("48/2", 24),
        ("2+3*4", 14),
        ("(2+3)*4", 20),
        ("10-4-3", 3),
        ("24/4/3", 2),
        ("-3+5", 2),
        ("2*-3", -6),
        ("--3", 3),
        ("1/3", Fraction(1, 3)),
        (".5*4", 2),
        ("8.00", 8),
        ("0.1+0.2", Fraction(3, 10)),
        ("20*50%", 10),
        ("1,000+1", 1001),
        (" $3 × 4 ", 12),
        ("3x4", 12),
        ("9 ÷ 3 − 1", 2),
        ("((((7))))", 7),
        ("(" * 50 + "7" + ")" * 50, 7),
        ("(" * 51 + "7" + ")" * 51, None),
        ("(" * 20_000, None),
        ("-" * 20_000 + "7", 7),
        ("9" * 20_000, None),
        ("7" + "+7" * 5_000, 35_007),
        *((text, None) for text in ("", " ", "x", "3+", "(3", "3)", "3 4", "1,2", "2**3", "7//2")),
        *((text, None) for text in ("apples", "3 apples", "a=3", "2^3", "%", "()", "1.2.3", "1e5")),
    ],
)
def test_value(expression: str, value: Fraction | None):
    assert number_text.value(expression) == value


def test_a_division_by_zero_is_told_from_nonsense():
    with pytest.raises(ZeroDivisionError):
        number_text.value("3/(2-2)")


@given(
    st.recursive(
        st.integers(0, 99).map(str),
        lambda inner: st.builds("({}{}{})".format, inner, st.sampled_from("+-*"), inner),
        max_leaves=12,
    )
)
def test_sums_have_pythons_value(expression: str):
    found, total = number_text.value(expression), _python(expression)
    assert found == total


def _python(expression: str) -> int:
    """The value of a sum in which every operation has parentheses, from the inside out."""
    inner = re.compile(r"\((-?\d+)([-+*])(-?\d+)\)")
    while match := inner.search(expression):
        a, b = int(match[1]), int(match[3])
        result = {"+": a + b, "-": a - b, "*": a * b}[match[2]]
        expression = f"{expression[: match.start()]}{result}{expression[match.end() :]}"
    return int(expression)


def test_every_annotation_of_the_data_is_true():
    solutions = texts.solutions(2000)
    annotations = [a for text in solutions for a in re.findall("<<(.+?)>>", text) if "//" not in a]
    assert len(annotations) >= 1900
    for annotation in annotations:
        left, _, right = annotation.rpartition("=")
        assert number_text.value(left) == number_text.value(right) is not None, annotation
