"""Bytes of tokens: both ways of spelling them, and what is refused."""

import pytest
import tokenizers
from tokenizers import AddedToken, decoders, models, pre_tokenizers
from transformers.convert_slow_tokenizer import bytes_to_unicode

from star_jax.data.token_bytes import byte_alphabet, byte_table

BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
SENTENCEPIECE = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
STRIP = decoders.Strip(content=" ", left=1, right=0)


def make(model, decoder, *added: AddedToken) -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(model)
    if decoder is not None:
        backend.decoder = decoder
    backend.add_tokens(list(added))
    return backend


def bpe(tokens: list[str], **options) -> models.BPE:
    return models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=[], **options)


def test_the_alphabet_is_that_of_the_libraries():
    ours = byte_alphabet()
    assert {byte: char for char, byte in ours.items()} == bytes_to_unicode()
    assert set(ours) == set(pre_tokenizers.ByteLevel.alphabet())


def test_byte_level_tokens():
    added = (
        AddedToken("né ", special=False),
        AddedToken("é", special=False),
        AddedToken("<|end|>", special=True),
    )
    backend = make(bpe(["Ġ", "Ã", "©", "Ã©", "ĊĠ", "a▁"]), decoders.ByteLevel(), *added)
    table = byte_table(backend)
    # an added token is found in the text as it is written, though "é" is in the alphabet, for \xe9;
    # "▁" is no character of the alphabet
    expected = [b" ", b"\xc3", b"\xa9", "é".encode(), b"\n ", "a▁".encode(), "né ".encode()]
    assert table == [*expected, "é".encode(), b""]


@pytest.mark.parametrize("indented", [True, False])
def test_sentencepiece_tokens(indented: bool):
    added = AddedToken("▁▁", special=False), AddedToken("</s>", special=True)
    steps = [*SENTENCEPIECE, STRIP] if indented else SENTENCEPIECE
    backend = make(bpe([*BYTES, "▁a", "é"], byte_fallback=True), decoders.Sequence(steps), *added)
    assert byte_table(backend) == [
        *(bytes([byte]) for byte in range(256)),
        b" a",
        "é".encode(),
        b"  ",
        b"",
    ]


def test_ids_that_are_no_token_are_empty():
    backend = make(models.BPE(vocab={"a": 1, "b": 3}, merges=[]), decoders.ByteLevel())
    assert byte_table(backend) == [b"", b"a", b"", b"b"]


@pytest.mark.parametrize(
    ("model", "decoder"),
    [
        (models.WordPiece(vocab={"[UNK]": 0}, unk_token="[UNK]"), decoders.WordPiece()),
        (models.Unigram([("▁", 0.0)], unk_id=0), decoders.Metaspace()),
        (models.WordLevel(vocab={"a": 0}, unk_token="a"), decoders.ByteLevel()),
        (bpe(["a"]), None),
        (bpe(["a"]), decoders.BPEDecoder(suffix="</w>")),
        (bpe(["a"]), decoders.Sequence(SENTENCEPIECE)),  # no bytes to fall back to
        (bpe([*BYTES[1:], "a"], byte_fallback=True), decoders.Sequence(SENTENCEPIECE)),
        (bpe(BYTES, byte_fallback=True), decoders.Sequence([*SENTENCEPIECE, STRIP, STRIP])),
        (bpe(BYTES, byte_fallback=True), decoders.Sequence([decoders.ByteFallback()])),
    ],
)
def test_others_are_refused(model, decoder):
    with pytest.raises(ValueError, match="only byte-level BPE and SentencePiece's BPE with all"):
        byte_table(make(model, decoder))
