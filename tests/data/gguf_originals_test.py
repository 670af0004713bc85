"""Tokenizers as their families' tokenizer.json has them, against what is made of a GGUF of them."""

import pathlib
import random
import re
from collections.abc import Callable

import gguf
import pytest
import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, trainers

import gguf_toys
import sentencepiece_toys
from star_jax.data.gguf_tokenizer import open_vocabulary
from texts import LOOK_ALIKES, NASTY, questions, solutions

NORMAL, CONTROL, USER, BYTE = 1, 3, 4, 6
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
MISTRAL = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def split(pattern: str) -> pre_tokenizers.PreTokenizer:
    parts = [
        pre_tokenizers.Split(Regex(pattern), "isolated"),
        pre_tokenizers.ByteLevel(False, True, False),
    ]
    return pre_tokenizers.Sequence(parts)


def digits() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(False)])


# tokenizer.ggml.pre -> how the family cuts words, whether it composes characters, and takes words
# that are tokens whole
FAMILIES: dict[str, tuple[Callable[[], pre_tokenizers.PreTokenizer], bool, bool]] = {
    "gpt-2": (lambda: pre_tokenizers.ByteLevel(False), False, False),  # GPT-2 and GPT-J
    "olmo": (lambda: pre_tokenizers.ByteLevel(False), True, False),  # GPT-NeoX
    "mpt": (lambda: pre_tokenizers.ByteLevel(False), True, False),
    "smollm": (digits, False, False),
    "llama-bpe": (lambda: split(LLAMA3), False, True),
    "qwen2": (lambda: split(LLAMA3.replace("{1,3}", "")), True, False),
    "tekken": (lambda: split(MISTRAL), False, True),  # Mistral Nemo
}


def original(pre: str) -> tokenizers.Tokenizer:
    """A small one, trained on GSM8K; it has runs of spaces as GPT-NeoX's does."""
    cut, composed, whole = FAMILIES[pre]
    made = tokenizers.Tokenizer(models.BPE(ignore_merges=whole))
    made.pre_tokenizer = cut()
    made.decoder = decoders.ByteLevel()
    if composed:
        made.normalizer = normalizers.NFC()
    trainer = trainers.BpeTrainer(
        vocab_size=1500,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator([*questions(500), *solutions(500)], trainer)
    if pre == "olmo":
        made.add_tokens([AddedToken(" " * size, normalized=True) for size in (4, 3, 2)])
    return made


def write(path: pathlib.Path, made: tokenizers.Tokenizer, **fields) -> None:
    """As llama.cpp's converter does, with `fields` under tokenizer.ggml."""
    vocabulary = made.get_vocab(with_added_tokens=True)
    added = made.get_added_tokens_decoder()
    tokens = sorted(vocabulary, key=lambda token: vocabulary[token])
    kinds = [BYTE if re.fullmatch("<0x..>", token) else NORMAL for token in tokens]
    for id_, token in added.items():
        kinds[id_] = CONTROL if token.special else USER
    writer = gguf.GGUFWriter(path, "llama")
    for name, value in {"tokens": tokens, "token_type": kinds, **fields}.items():
        writer.add_key_value(f"tokenizer.ggml.{name}", value, *gguf_toys.kind_of(value))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def spaced(text: str, draws: random.Random) -> str:
    """With lines and runs of spaces between its words."""
    gaps = [" "] * 6 + ["  ", "\n", "\n\n", " \n  ", "\t", "    "]
    return "".join(word + draws.choice(gaps) for word in text.split(" "))


def texts() -> list[str]:
    draws = random.Random(0)
    plain = [*questions(200), *solutions(200)]
    return [*plain, *(spaced(text, draws) for text in plain), *NASTY, *LOOK_ALIKES]


@pytest.mark.parametrize("pre", FAMILIES)
def test_byte_level_ids_are_those_of_the_original(pre: str, tmp_path: pathlib.Path):
    made = original(pre)
    merges = [" ".join(pair) for pair in sentencepiece_toys.merges(made)]
    write(tmp_path / "m.gguf", made, model="gpt2", pre=pre, merges=merges)
    opened = open_vocabulary(tmp_path / "m.gguf").backend
    for text in texts():
        expected = made.encode(text).ids
        assert opened.encode(text, add_special_tokens=False).ids == expected, text
        assert opened.decode(expected) == made.decode(expected)


@pytest.mark.parametrize("prefix", ["normalizer", ""])
def test_sentencepiece_ids_are_those_of_the_original(prefix: str, tmp_path: pathlib.Path):
    made = sentencepiece_toys.backend(prefix)
    ranks = {a + b: rank for rank, (a, b) in enumerate(sentencepiece_toys.MERGES)}
    vocabulary = made.get_vocab()
    scores = [
        float(-ranks.get(token, 99)) for token in sorted(vocabulary, key=lambda t: vocabulary[t])
    ]
    write(tmp_path / "m.gguf", made, model="llama", scores=scores, add_space_prefix=bool(prefix))
    opened = open_vocabulary(tmp_path / "m.gguf").backend
    for text in (*texts(), "The  The", "  Thé", "T T T", "<s>The</s> The<turn>"):
        assert (
            opened.encode(text, add_special_tokens=False).ids
            == made.encode(text, add_special_tokens=False).ids
        ), text
