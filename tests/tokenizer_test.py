import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from star_jax.tokenizer import ByteTokenizer

TOKENIZER = ByteTokenizer()
MARKUP = ByteTokenizer(["<scratch>\n", " + ", " +", "é "])
# every character but lone surrogates, which no UTF-8 text holds
TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@settings(deadline=None)
@given(TEXT | st.text("<scratch>\n + é"))
def test_text_survives_the_round_trip(text: str):
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text
    assert MARKUP.decode(MARKUP.encode(text)) == text


@settings(deadline=None)
@given(st.lists(st.sampled_from([*MARKUP.markup, "6", "\n", "ab"])).map("".join))
def test_markup_is_a_token_and_the_longest_wins(text: str):
    rest = text
    for string in sorted(MARKUP.markup, key=len, reverse=True):
        rest = rest.replace(string, "\0")
    assert len(MARKUP.encode(text)) == len(rest.encode())


@pytest.mark.parametrize("markup", [["ab", "cd", "ab"], ["a"], [""]])
def test_markup_that_is_no_token_of_its_own_is_refused(markup: list[str]):
    with pytest.raises(ValueError, match="must be different strings of two bytes or more"):
        ByteTokenizer(markup)


@settings(deadline=None)
@given(TEXT, TEXT)
def test_encoding_is_a_homomorphism(left: str, right: str):
    # prompt and completion are encoded apart and put together: the border must not matter
    assert TOKENIZER.encode(left) + TOKENIZER.encode(right) == TOKENIZER.encode(left + right)


@pytest.mark.parametrize(
    ("text", "ids"),
    [("", []), ("\0", [3]), ("A:", [68, 61]), ("é", [0xC3 + 3, 0xA9 + 3])],
)
def test_ids(text: str, ids: list[int]):
    assert TOKENIZER.encode(text) == ids


def test_ids_of_markup_come_after_the_bytes():
    assert MARKUP.encode("6 + 2 +é <scratch>\n") == [57, 260, 53, 261, 262, 259]
    assert MARKUP.vocab_size == 263


def test_no_text_encodes_to_a_special_token():
    every_byte = TOKENIZER.encode("".join(map(chr, range(0x800))))
    assert {TOKENIZER.pad_id, TOKENIZER.bos_id, TOKENIZER.eos_id}.isdisjoint(every_byte)


def test_decoding_drops_special_tokens():
    assert TOKENIZER.decode([1, *TOKENIZER.encode("8 8"), 2, 0, *TOKENIZER.encode(" 3")]) == "8 8 3"


def test_decoding_replaces_what_is_not_utf8():
    assert TOKENIZER.decode([0xC3 + 3, *TOKENIZER.encode("x")]) == "\ufffdx"


@pytest.mark.parametrize("token", [-1, 259])
def test_decoding_refuses_what_is_no_token(token: int):
    with pytest.raises(ValueError, match=f"token {token} is outside the vocabulary of 259"):
        TOKENIZER.decode([token])


def test_token_bytes_are_what_decoding_joins():
    table = TOKENIZER.token_bytes()
    assert len(table) == TOKENIZER.vocab_size
    assert table[:3] == [b"", b"", b""]
    assert sorted(table[3:]) == [bytes([byte]) for byte in range(256)]
    assert b"".join(table[token] for token in TOKENIZER.encode("6 2é")) == "6 2é".encode()
