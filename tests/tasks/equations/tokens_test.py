from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from star_jax.tasks.equations.tokens import tokens

# text; kinds and texts of its tokens
CASES = [
    ("16 + 5.5", "number:16 sign:+ number:5.5"),
    ("$1,234.50", "number:$1234.50"),
    ("$ 5 x 3", "number:$5 sign:* number:3"),
    ("3x4", "number:3 sign:* number:4"),
    ("3x + 4", "number:3 word:x sign:+ number:4"),
    ("3 × 4 ÷ 2 − 1", "number:3 sign:* number:4 sign:/ number:2 sign:- number:1"),
    ("５＋３＝８", "number:5 sign:+ number:3 =:= number:8"),
    (r"3 \times 4 \div 2", "number:3 sign:* number:4 sign:/ number:2"),
    (r"\$5 \text{ apples}", "number:5 word:\\text{ apples}"),
    (r"\frac{1}{2}", "frac:\\frac (:{ number:1 ):} (:{ number:2 ):}"),
    ("50% of 8", "number:50 %:% word:of number:8"),
    ("50 per cent", "number:50 %:%"),
    ("50 percent", "number:50 %:%"),
    ("20-pound bags", "number:20 word:-pound word:bags"),
    ("5 times 3", "number:5 sign:* number:3"),
    ("5 times as many", "number:5 word:times word:as word:many"),
    ("5 ft. + 3", "number:5 word:ft word: sign:+ number:3"),
    ("8 apples. Then", "number:8 word:apples break:. word:Then"),
    ("8, 9", "number:8 break:, number:9"),
    ("14, 400", "number:14 break:, number:400"),
    ("80 000", "number:80000"),
    ("2 (a day) * 3", "number:2 word:a day sign:* number:3"),
    ("1½", "number:1 1/2"),
    ("1 1/2", "number:1 1/2"),
    ("1 3/2", "bad:1 3/2"),
    ("2 . 5", "number:2 bad:. number:5"),
    ("12:30", "bad:12:30"),
    ("12,34", "bad:12,34"),
    ("0130", "bad:0130"),
    ("2^3", "number:2 sign:^3"),
    ("5² cm²", "number:5 sign:^2 word:cm²"),
    ("√9", "bad:√ number:9"),
    ("sqrt(9)", "bad:sqrt (:( number:9 ):)"),
    ("1 + ... + 9", "number:1 sign:+ bad:... sign:+ number:9"),
    ("5 => 3 == 3 >= 2", "number:5 break:=> number:3 break:== number:3 break:>= number:2"),
    ("**5** `3`", "number:5 number:3"),
    ("50¢", "number:50 word:cents"),
    ("5*4 = <<5*4=20>>20", "number:5 sign:* number:4 =:= number:20"),
    ("9" * 31, "bad:" + "9" * 31),
]


@pytest.mark.parametrize(("text", "found"), CASES, ids=range(len(CASES)))
def test_tokens(text: str, found: str):
    assert " ".join(f"{token.kind}:{token.text}" for token in tokens(text)) == found


@pytest.mark.parametrize(
    ("text", "value"),
    [("1,234.50", "1234.5"), ("1½", "3/2"), ("⅓", "1/3"), ("2 3/4", "11/4"), (".5", "1/2")],
)
def test_values(text: str, value: str):
    (token,) = tokens(text)
    assert token.value == Fraction(value)


def test_what_may_be_prose_is_marked():
    assert [token.loose for token in tokens("8 — 3")] == [False, True, False]
    assert [token.loose for token in tokens("7 // 2")] == [False, True, False]
    assert [token.loose for token in tokens("14, 400")] == [False, True, False]
    assert [token.loose for token in tokens("80 000")] == [True]
    assert not any(token.loose for token in tokens("8 - 3, 4"))


@given(st.text("0123456789 .,:/+-*x×=%$()½²\\{}abc\n<>'", max_size=60) | st.text())
def test_spans_are_in_order_and_inside_the_text(text: str):
    end = 0
    for token in tokens(text):
        assert end <= token.start < token.end <= len(text)
        end = token.end
