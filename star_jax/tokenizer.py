"""Text to token ids and back: the byte-level tokenizer, which needs no file and no vocabulary."""

import re
from collections.abc import Iterable, Sequence
from typing import ClassVar

_SPECIALS = 3  # pad, bos, eos come first; byte b is token b + 3, and after the bytes the markup


class ByteTokenizer:
    """One token a byte of UTF-8, after three special tokens that no text encodes to.

    Strings that a format repeats without end can be tokens of their own, as they would be under a
    trained vocabulary: texts are shorter and the model has less to copy.

    Attributes:
        markup: those strings; where several fit, the longest is taken.
    """

    pad_id: ClassVar[int] = 0
    bos_id: ClassVar[int] = 1
    eos_id: ClassVar[int] = 2

    def __init__(self, markup: Sequence[str] = ()) -> None:
        self.markup = tuple(markup)
        pieces = [string.encode() for string in self.markup]
        if len(set(pieces)) < len(pieces) or any(len(piece) < 2 for piece in pieces):
            raise ValueError(
                f"markup = {self.markup}: must be different strings of two bytes or more"
            )
        self._bytes = [b""] * _SPECIALS + [bytes([byte]) for byte in range(256)] + pieces
        self._ids = {piece: token for token, piece in enumerate(self._bytes) if piece}
        longest_first = sorted(pieces, key=len, reverse=True)
        self._pattern = re.compile(b"|".join([*map(re.escape, longest_first), b"."]), re.DOTALL)

    @property
    def vocab_size(self) -> int:
        """Number of tokens."""
        return len(self._bytes)

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`, without special tokens."""
        return [self._ids[piece] for piece in self._pattern.findall(text.encode())]

    def decode(self, ids: Iterable[int]) -> str:
        """Text of `ids`: special tokens are dropped, bytes that are not UTF-8 become U+FFFD.

        Raises:
            ValueError: an id lies outside the vocabulary.
        """
        return b"".join(self._piece(int(token)) for token in ids).decode(errors="replace")

    def token_bytes(self) -> list[bytes]:
        """The bytes each id stands for, in the order of the ids; special tokens are empty."""
        return list(self._bytes)

    def _piece(self, token: int) -> bytes:
        if not 0 <= token < self.vocab_size:
            raise ValueError(
                f"token {token} is outside the vocabulary of {self.vocab_size}: mask the logits "
                "of padded vocabulary entries before choosing a token"
            )
        return self._bytes[token]
