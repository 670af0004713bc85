"""Finds the exact bytes that each token of a tokenizer stands for.

There are two spellings of tokens. Byte-level BPE (GPT-2, Llama 3, Qwen, SmolLM2) writes every byte
as one character of an alphabet. SentencePiece's BPE (Llama 2, Gemma) writes plain text, with "▁"
for a space, and <0xNN> for the bytes of characters that have no token.
"""

import dataclasses
import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from star_jax.data.gguf_tokenizer import SPACE

if TYPE_CHECKING:
    import tokenizers

# Steps of a SentencePiece decoder; the last one only if the encoder puts a space before a text.
_STEPS = [
    {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
    {"type": "ByteFallback"},
    {"type": "Fuse"},
    {"type": "Strip", "content": " ", "start": 1, "stop": 0},
]


@dataclasses.dataclass(frozen=True)
class TokenBytes:
    """The bytes of every token as arrays.

    Attributes:
        table: bytes of each token, uint8 [V, M], padded on the right.
        lengths: number of bytes of each token, int32 [V].
        count: number of tokens of the tokenizer; ids from `count` to V are padding, without bytes.
    """

    table: np.ndarray
    lengths: np.ndarray
    count: int


def make_token_bytes(pieces: Sequence[bytes], vocab: int) -> TokenBytes:
    """Builds the arrays for a vocabulary of `vocab` ids, of which `pieces` are the first."""
    table = np.zeros((vocab, max(map(len, pieces))), np.uint8)
    for row, piece in zip(table, pieces, strict=False):
        row[: len(piece)] = np.frombuffer(piece, np.uint8)
    lengths = np.zeros((vocab,), np.int32)
    lengths[: len(pieces)] = [len(piece) for piece in pieces]
    return TokenBytes(table, lengths, len(pieces))


def byte_table(backend: "tokenizers.Tokenizer") -> list[bytes]:
    """Returns the bytes of every id, in the order of the ids; those of special tokens are empty.

    Raises:
        ValueError: the tokenizer is neither byte-level BPE nor SentencePiece's BPE.
    """
    spell = _spelling(backend)
    added = backend.get_added_tokens_decoder()
    vocabulary = backend.get_vocab(with_added_tokens=True)
    table = [b""] * (max(vocabulary.values(), default=-1) + 1)
    for text, id_ in vocabulary.items():
        if id_ not in added or not added[id_].special:
            table[id_] = spell(text, id_ in added)
    return table


def byte_alphabet() -> dict[str, int]:
    """Returns character -> byte of byte-level tokenizers; visible characters are their own byte."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return {chr(byte): byte for byte in visible} | {chr(256 + i): b for i, b in enumerate(hidden)}


def _spelling(backend: "tokenizers.Tokenizer") -> Callable[[str, bool], bytes]:
    """Returns the function (token, whether it is an added one) -> bytes."""
    model = type(backend.model).__name__
    decoder = json.loads(backend.decoder.__getstate__()) if backend.decoder else {}
    steps = list(_steps(decoder))
    if model == "BPE" and [step.get("type") for step in steps] == ["ByteLevel"]:
        return _byte_level(byte_alphabet())
    vocabulary = backend.get_vocab()
    whole = all(f"<0x{byte:02X}>" in vocabulary for byte in range(256))
    if getattr(backend.model, "byte_fallback", False) and whole and steps in (_STEPS[:3], _STEPS):
        return _sentencepiece
    raise ValueError(
        f"a tokenizer of model {model} with decoder {json.dumps(decoder)}: only byte-level BPE and "
        "SentencePiece's BPE with all 256 bytes are known; take a model with one of these"
    )


def _steps(decoder: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if decoder.get("type") == "Sequence":
        for step in decoder["decoders"]:
            yield from _steps(step)
    else:
        yield decoder


def _byte_level(alphabet: dict[str, int]) -> Callable[[str, bool], bytes]:
    def spell(token: str, added: bool) -> bytes:
        if added or not alphabet.keys() >= set(token):  # plain text
            return token.encode()
        return bytes(alphabet[char] for char in token)

    return spell


def _sentencepiece(token: str, added: bool) -> bytes:
    if not added and re.fullmatch("<0x[0-9A-F]{2}>", token):
        return bytes([int(token[3:5], 16)])
    return token.replace(SPACE, " ").encode()
