"""Tokenizers: any Hugging Face tokenizer, and a tokenizer of bytes that needs no file.

transformers is imported only when a tokenizer is opened, because the import takes seconds.
"""

import copy
import os
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any, Protocol

from etils import epath

from star_jax.data import chat_template, special_tokens, tokenizer_loading
from star_jax.data.token_bytes import byte_alphabet, byte_table
from star_jax.storage import files

if TYPE_CHECKING:
    import transformers

_NAMES = ("pad", "bos", "eos")  # tokens 0 to 2; byte b is token b + 3; markup follows the bytes


class Tokenizer(Protocol):
    """The methods of a tokenizer that prompts, packing and sampling use."""

    @property
    def pad_id(self) -> int:
        """The id at positions that hold no token."""
        ...

    @property
    def bos_id(self) -> int | None:
        """The id that begins a document; None if the model was trained without one."""
        ...

    @property
    def eos_id(self) -> int:
        """The id that ends a document."""
        ...

    @property
    def eos_ids(self) -> tuple[int, ...]:
        """All ids that end a document or a turn, `eos_id` first."""
        ...

    @property
    def vocab_size(self) -> int:
        """The number of ids, from 0."""
        ...

    def encode(self, text: str) -> list[int]:
        """Returns the token ids of `text`; none is a special token, even if `text` names one."""
        ...

    def decode(self, ids: Iterable[int]) -> str:
        """Returns the text of `ids` as a continuation: a space at its beginning is kept.

        Special tokens are left out; bytes that are not UTF-8 become U+FFFD.
        """
        ...

    def token_bytes(self) -> list[bytes]:
        """Returns the bytes of each id, in the order of the ids; b"" for special tokens."""
        ...

    def name(self, token: int) -> str:
        """Returns the token's name in the vocabulary."""
        ...

    def save(self, folder: epath.PathLike) -> None:
        """Writes tokenizer.json and the files beside it, which transformers can open."""
        ...


class ByteTokenizer:
    """A tokenizer with one token a byte of UTF-8, after three special tokens.

    No text encodes to the special tokens. Strings that a format repeats often can be tokens of
    their own, as in a trained vocabulary: texts are shorter, and the model has less to copy.

    Attributes:
        markup: strings with a token of their own; if several fit, the longest is taken.
        pad_id, bos_id, eos_id, eos_ids: ids of the special tokens, as in `Tokenizer`.
    """

    pad_id: int = 0
    bos_id: int = 1
    eos_id: int = 2
    eos_ids: tuple[int, ...] = (2,)

    def __init__(self, markup: Sequence[str] = ()) -> None:
        self.markup = tuple(markup)
        pieces = [string.encode() for string in self.markup]
        if len(set(pieces)) < len(pieces) or any(len(piece) < 2 for piece in pieces):
            raise ValueError(
                f"markup = {self.markup}: must be different strings of two bytes or more"
            )
        self._bytes = [b""] * len(_NAMES) + [bytes([byte]) for byte in range(256)] + pieces
        self._ids = {piece: token for token, piece in enumerate(self._bytes) if piece}
        longest_first = sorted(pieces, key=len, reverse=True)
        self._pattern = re.compile(b"|".join([*map(re.escape, longest_first), b"."]), re.DOTALL)

    @property
    def vocab_size(self) -> int:
        """The number of ids, from 0."""
        return len(self._bytes)

    def encode(self, text: str) -> list[int]:
        """Returns the token ids of `text`, without special tokens."""
        return [self._ids[piece] for piece in self._pattern.findall(text.encode())]

    def decode(self, ids: Iterable[int]) -> str:
        """Returns the text of `ids`, without special tokens; invalid UTF-8 becomes U+FFFD.

        Raises:
            ValueError: an id lies outside the vocabulary.
        """
        return _text(self._bytes, ids)

    def token_bytes(self) -> list[bytes]:
        """Returns the bytes of each id, in the order of the ids; b"" for special tokens."""
        return list(self._bytes)

    def name(self, token: int) -> str:
        """Returns the token's name, such as "<eos>", or its text."""
        return f"<{_NAMES[token]}>" if token < len(_NAMES) else self.decode([token])

    def save(self, folder: epath.PathLike) -> None:
        """Writes tokenizer.json and the files beside it, for transformers to give the same ids.

        The folder may be a remote one (gs://).
        """
        import tokenizers as hub

        letters = {byte: letter for letter, byte in byte_alphabet().items()}
        ids = {f"<{name}>": id_ for id_, name in enumerate(_NAMES)}
        ids |= {letters[byte]: len(_NAMES) + byte for byte in range(256)}
        backend = hub.Tokenizer(hub.models.BPE(vocab=ids, merges=[]))
        backend.pre_tokenizer = hub.pre_tokenizers.ByteLevel(
            add_prefix_space=False, use_regex=False
        )
        backend.decoder = hub.decoders.ByteLevel()
        backend.post_processor = hub.processors.TemplateProcessing(
            single="<bos> $A", special_tokens=[("<bos>", self.bos_id)]
        )
        backend.add_special_tokens([f"<{name}>" for name in _NAMES])
        backend.add_tokens([hub.AddedToken(string, normalized=False) for string in self.markup])
        files.write_atomic(epath.Path(folder) / "tokenizer.json", backend.to_str(pretty=True))
        special = {f"{name}_token": f"<{name}>" for name in _NAMES}
        config = {"tokenizer_class": "PreTrainedTokenizerFast", **special}
        files.write_json(epath.Path(folder) / "tokenizer_config.json", config)


class HuggingFaceTokenizer:
    """A model's own tokenizer: byte-level BPE (GPT-2, Llama 3, Qwen) or SentencePiece BPE (Gemma).

    Ids are those of transformers' fast tokenizers, with one difference: `encode` spells out text
    that looks like a special token, or like a token that ends texts, such as "<|im_end|>". The copy
    of the tokenizer that encodes has the parsing of special tokens turned off. Any special id that
    it gives nevertheless (the unknown token) is dropped. Tokens that are added but not special
    (Qwen's "<think>") are ordinary words and stay whole, unless they end texts.

    Bytes without a token are dropped from a text, as transformers does: SmolLM2 has no token for
    six control characters, nor for the first byte of unassigned planes.

    Attributes:
        pad_id: id at positions that hold no token; `eos_id` if the tokenizer has no padding token.
        bos_id: id that begins a document; None if the tokenizer does not add one by itself, even if
            it has a BOS token (GPT-2, Qwen, SmolLM2): the model was trained without.
        eos_id: id that ends a document.
        eos_ids: all ids that end a text or a turn, `eos_id` first. No text encodes to them, whether
            or not the vocabulary calls them special.
        named_ends: `eos_ids` without the ids that only the chat template ends a reply with.
        reply_end: id that ends a reply to train on: the token that the chat template writes after
            it, or `eos_id` if that is no token.
        reply_stop: text that the chat template writes between a reply and `reply_end`; "" for none.
        missing_bytes: bytes that no token stands for.
        chats: whether the tokenizer has a chat template.
    """

    def __init__(
        self, hub: "transformers.PreTrainedTokenizerFast", ends: Iterable[int] = ()
    ) -> None:
        """Wraps an open tokenizer of transformers.

        Args:
            hub: the tokenizer; it must not be used elsewhere afterwards.
            ends: ids that end a text besides the tokenizer's own.

        Raises:
            ValueError: the tokenizer is of a kind whose bytes are not known, has no end of a text,
                or ends texts with a character that texts need.
        """
        self._hub: Any = hub
        marked = self._hub.backend_tokenizer
        marked.no_truncation()
        marked.no_padding()
        self._bytes = byte_table(marked)
        self.missing_bytes = frozenset(range(256)) - {x[0] for x in self._bytes if len(x) == 1}
        own = [] if self._hub.eos_token_id is None else [self._hub.eos_token_id]
        self.named_ends: tuple[int, ...] = tuple(dict.fromkeys([*own, *ends]))
        if not self.named_ends or not all(0 <= id_ < self.vocab_size for id_ in self.named_ends):
            raise ValueError(
                f"a tokenizer of {self.vocab_size} ids whose texts end with {self.named_ends}: "
                "name an eos_token in tokenizer_config.json or an eos_token_id in "
                "generation_config.json"
            )
        self._template = chat_template.Template(hub)
        self.chats: bool = self._template.exists
        whole = {token.content: id_ for id_, token in marked.get_added_tokens_decoder().items()}
        whole |= {marked.id_to_token(id_) or "": id_ for id_ in self.named_ends}
        ending = self._template.ending(whole)
        reply_ends = [whole[token] for token in ending.tokens]
        self.eos_ids: tuple[int, ...] = tuple(dict.fromkeys([*self.named_ends, *reply_ends]))
        self.eos_id: int = self.eos_ids[0]
        self.reply_end: int = reply_ends[0] if reply_ends else self.eos_id
        self.reply_stop: str = ending.text
        self._special = special_tokens.find(marked, self.eos_ids)
        self._marked: Any = self._special.backend
        self._plain = copy.deepcopy(self._marked)
        self._plain.encode_special_tokens = True  # encodes names of special tokens as plain text
        for id_ in self.eos_ids:
            self._bytes[id_] = b""
        pad = self._hub.pad_token_id
        self.pad_id: int = self.eos_id if pad is None else pad
        bos = self._hub.bos_token_id
        self.bos_id: int | None = bos if self._marked.encode("").ids[:1] == [bos] else None

    @classmethod
    def open(cls, source: str | os.PathLike[str]) -> "HuggingFaceTokenizer":
        """Opens the tokenizer of a model; a tokenizer.json is used unchanged.

        Args:
            source: folder, .gguf file, run, or owner/name on the Hugging Face hub.

        Raises:
            ValueError: there is no tokenizer, it cannot be read, or it needs remote code; the
                message names the file and the remedy.
        """
        hub, ends = tokenizer_loading.open_source(source)
        try:
            return cls(hub, ends)
        except ValueError as error:
            raise ValueError(f"{os.fspath(source)}: {error}") from error

    @property
    def vocab_size(self) -> int:
        """The highest id + 1; the model's embedding may have more rows."""
        return len(self._bytes)

    def encode(self, text: str) -> list[int]:
        """Returns the token ids of `text`; special tokens are neither added nor parsed."""
        ids = self._plain.encode(text, add_special_tokens=False).ids
        return self._spell(ids, self._special.names.keys())

    def _spell(self, ids: list[int], special: Set[int]) -> list[int]:
        """Returns `ids` with each special one spelled out if it is an end token, else dropped."""
        if special.isdisjoint(ids):
            return ids
        spelled = self._special.spelled
        return [x for id_ in ids for x in (spelled.get(id_, ()) if id_ in special else [id_])]

    def decode(self, ids: Iterable[int]) -> str:
        """Returns the text of `ids` as a continuation; bytes that are not UTF-8 become U+FFFD.

        Special tokens are dropped. The space that a tokenizer puts before every text (Llama 2) is
        kept: transformers removes it, which is right for a whole text and wrong for a completion.

        Raises:
            ValueError: an id lies outside the vocabulary.
        """
        return _text(self._bytes, ids)

    def token_bytes(self) -> list[bytes]:
        """Returns the bytes of each id, in the order of the ids; b"" for special tokens.

        Joined over `encode(text)` they are the text's UTF-8 after the tokenizer's own changes: a
        space before it (Llama 2), Unicode's composed form (Qwen), "▁" as a space (SentencePiece).
        """
        return list(self._bytes)

    def name(self, token: int) -> str:
        """Returns the token's name in the vocabulary, such as "<|im_end|>" or "Ġthe"."""
        return self._marked.id_to_token(token) or ""

    def chat(
        self, messages: Sequence[Mapping[str, str]], reply: bool = True, reply_start: str = ""
    ) -> list[int]:
        """Returns the token ids of a conversation in the model's own format.

        Special tokens that the template writes are included; those in a message are spelled out.

        Args:
            messages: messages, each with a "role" and its "content".
            reply: whether to end with the head of the assistant's next message, to be continued.
            reply_start: text that the model has written after that head.

        Raises:
            ValueError: there is no chat template, or it refuses the messages.
        """
        texts = "".join([reply_start, *(text for message in messages for text in message.values())])
        mark = next(char for char in map(chr, range(0xE000, 0xF900)) if char not in texts)
        ids = {text: id_ for id_, text in self._special.names.items()}
        special = chat_template.any_of(ids)

        def guard(text: str) -> str:
            return special.sub(lambda match: f"{mark}{ids[match[0]]}{mark}", text)

        guarded = [{name: guard(text) for name, text in m.items()} for m in messages]
        chat = self._template.write(guarded, reply) + guard(reply_start)
        if mark not in chat:
            encoded = self._marked.encode(chat, add_special_tokens=False).ids
            return self._spell(encoded, self._special.words)
        # A message holds the name of a special token: encode the text between the template's own.
        encoded, plain, end = [], "", 0
        for match in re.finditer(f"{mark}([0-9]+){mark}|{special.pattern}", chat):
            plain += chat[end : match.start()]
            end = match.end()
            if match[1]:
                plain += self._special.names[int(match[1])]
            else:
                encoded += [*self.encode(plain), ids[match[0]]]
                plain = ""
        return encoded + self.encode(plain + chat[end:])

    def save(self, folder: epath.PathLike) -> None:
        """Writes tokenizer.json and the files beside it, for `open` and AutoTokenizer.

        Ends that are not the tokenizer's own go into generation_config.json if there is none yet.
        The folder may be a remote one (gs://).
        """
        tokenizer_loading.save(self._hub, folder)
        generation = epath.Path(folder) / "generation_config.json"
        if len(self.eos_ids) > 1 and not generation.exists():
            files.write_json(generation, {"eos_token_id": list(self.eos_ids)})


def _text(table: Sequence[bytes], ids: Iterable[int]) -> str:
    """Returns the text of `ids`, given the bytes of every id."""
    pieces = []
    for token in map(int, ids):
        if not 0 <= token < len(table):
            raise ValueError(
                f"token {token} is outside the vocabulary of {len(table)}: mask the logits "
                "of padded vocabulary entries before choosing a token"
            )
        pieces.append(table[token])
    return b"".join(pieces).decode(errors="replace")
