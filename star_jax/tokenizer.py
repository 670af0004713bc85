"""Text to token ids and back: the byte-level tokenizer, which needs no file and no vocabulary."""

from collections.abc import Iterable
from typing import ClassVar

_SPECIALS = 3  # pad, bos, eos come first; byte b is token b + 3


class ByteTokenizer:
    """One token a byte of UTF-8, after three special tokens that no text encodes to."""

    pad_id: ClassVar[int] = 0
    bos_id: ClassVar[int] = 1
    eos_id: ClassVar[int] = 2
    vocab_size: ClassVar[int] = _SPECIALS + 256

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`, without special tokens."""
        return [byte + _SPECIALS for byte in text.encode()]

    def decode(self, ids: Iterable[int]) -> str:
        """Text of `ids`: special tokens are dropped, bytes that are not UTF-8 become U+FFFD.

        Raises:
            ValueError: an id lies outside the vocabulary.
        """
        return b"".join(self._piece(int(token)) for token in ids).decode(errors="replace")

    def token_bytes(self) -> list[bytes]:
        """The bytes each id stands for, in the order of the ids; special tokens are empty."""
        return [self._piece(token) for token in range(self.vocab_size)]

    def _piece(self, token: int) -> bytes:
        if not 0 <= token < self.vocab_size:
            raise ValueError(
                f"token {token} is outside the vocabulary of {self.vocab_size}: mask the logits "
                "of padded vocabulary entries before choosing a token"
            )
        return bytes([token - _SPECIALS]) if token >= _SPECIALS else b""
