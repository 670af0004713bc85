"""Text to token ids and back: any Hugging Face tokenizer, and one of bytes that needs no file.

transformers is imported when a tokenizer is opened, not before: it takes seconds.
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

_NAMES = ("pad", "bos", "eos")  # come first; byte b is token b + 3, and after the bytes the markup


class Tokenizer(Protocol):
    """What prompts, packing and sampling need of a tokenizer."""

    @property
    def pad_id(self) -> int:
        """Fills places that hold no token."""
        ...

    @property
    def bos_id(self) -> int | None:
        """Begins a document; None where the model was trained without one."""
        ...

    @property
    def eos_id(self) -> int:
        """Ends a document."""
        ...

    @property
    def eos_ids(self) -> tuple[int, ...]:
        """All ids that end a document or a turn, `eos_id` first."""
        ...

    @property
    def vocab_size(self) -> int:
        """Number of ids, from 0."""
        ...

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`; none of them is a special token, whatever the text says."""
        ...

    def decode(self, ids: Iterable[int]) -> str:
        """Text of `ids` where they follow others: a space that they begin with is part of it.

        Special tokens are left out; bytes that are not UTF-8 become U+FFFD.
        """
        ...

    def token_bytes(self) -> list[bytes]:
        """The bytes each id stands for, in the order of the ids; special tokens are empty."""
        ...

    def name(self, token: int) -> str:
        """The token as the vocabulary writes it."""
        ...

    def save(self, folder: epath.PathLike) -> None:
        """Writes tokenizer.json and what belongs to it, for `open` and transformers."""
        ...


class ByteTokenizer:
    """One token a byte of UTF-8, after three special tokens that no text encodes to.

    Strings that a format repeats without end can be tokens of their own, as they would be under a
    trained vocabulary: texts are shorter and the model has less to copy.

    Attributes:
        markup: those strings; where several fit, the longest is taken.
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
        return _text(self._bytes, ids)

    def token_bytes(self) -> list[bytes]:
        """The bytes each id stands for, in the order of the ids; special tokens are empty."""
        return list(self._bytes)

    def name(self, token: int) -> str:
        """The token, such as "<eos>"; bytes as text."""
        return f"<{_NAMES[token]}>" if token < len(_NAMES) else self.decode([token])

    def save(self, folder: epath.PathLike) -> None:
        """Writes tokenizer.json and what belongs to it: the same ids for transformers.

        The folder may be a remote one (gs://).
        """
        import tokenizers as hub

        letters = {byte: letter for letter, byte in byte_alphabet().items()}
        ids = {f"<{name}>": id_ for id_, name in enumerate(_NAMES)}
        ids |= {letters[byte]: len(_NAMES) + byte for byte in range(256)}
        made = hub.Tokenizer(hub.models.BPE(vocab=ids, merges=[]))
        made.pre_tokenizer = hub.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        made.decoder = hub.decoders.ByteLevel()
        made.post_processor = hub.processors.TemplateProcessing(
            single="<bos> $A", special_tokens=[("<bos>", self.bos_id)]
        )
        made.add_special_tokens([f"<{name}>" for name in _NAMES])
        made.add_tokens([hub.AddedToken(string, normalized=False) for string in self.markup])
        files.write_atomic(epath.Path(folder) / "tokenizer.json", made.to_str(pretty=True))
        special = {f"{name}_token": f"<{name}>" for name in _NAMES}
        said = {"tokenizer_class": "PreTrainedTokenizerFast", **special}
        files.write_json(epath.Path(folder) / "tokenizer_config.json", said)


class HuggingFaceTokenizer:
    """A model's own tokenizer: byte-level BPE (GPT-2, Llama 3, Qwen) or SentencePiece BPE (Gemma).

    Ids are those of transformers' fast tokenizers, with one difference: text that looks like a
    special token, or like one that ends texts, such as "<|im_end|>", is spelled out in `encode`.
    The copy of the tokenizer that encodes has the parsing of special tokens turned off, and should
    it give one nevertheless (for what it does not know), that id is dropped. Tokens that are added
    but not special (Qwen's "<think>") are ordinary words and stay whole, unless they end texts.

    Bytes that the vocabulary has no token for are dropped from a text, as transformers drops them:
    SmolLM2 has none for six control characters, nor for the first byte of unassigned planes.

    Attributes:
        pad_id: fills places that hold no token; `eos_id` where the tokenizer names no padding.
        bos_id: begins a document; None where the tokenizer puts nothing there by itself, even if it
            knows such a token (GPT-2, Qwen, SmolLM2): the model was trained without.
        eos_id: ends a document.
        eos_ids: all ids that end a text or a turn, `eos_id` first: no text has them in it, whether
            or not the vocabulary calls them special.
        named_ends: `eos_ids` without what only the chat template ends a reply with.
        reply_end: ends a reply to train on: what the chat template writes after it, or `eos_id`
            where that is no token.
        reply_stop: text that the chat template writes between a reply and `reply_end`; "" for none.
        missing_bytes: bytes that no token stands for.
        chats: whether there is a chat template.
    """

    def __init__(
        self, hub: "transformers.PreTrainedTokenizerFast", ends: Iterable[int] = ()
    ) -> None:
        """Takes a tokenizer of transformers that is open already.

        Args:
            hub: the tokenizer; from now on used by this object alone.
            ends: ids that end a text besides the tokenizer's own.

        Raises:
            ValueError: it is of a kind whose bytes are not known, knows no end of a text, or ends
                texts with what texts are made of.
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
        of_chats = [whole[token] for token in ending.tokens]
        self.eos_ids: tuple[int, ...] = tuple(dict.fromkeys([*self.named_ends, *of_chats]))
        self.eos_id: int = self.eos_ids[0]
        self.reply_end: int = of_chats[0] if of_chats else self.eos_id
        self.reply_stop: str = ending.text
        self._special = special_tokens.find(marked, self.eos_ids)
        self._marked: Any = self._special.backend
        self._plain = copy.deepcopy(self._marked)
        self._plain.encode_special_tokens = True  # that is: as the text they are
        for id_ in self.eos_ids:
            self._bytes[id_] = b""
        pad = self._hub.pad_token_id
        self.pad_id: int = self.eos_id if pad is None else pad
        bos = self._hub.bos_token_id
        self.bos_id: int | None = bos if self._marked.encode("").ids[:1] == [bos] else None

    @classmethod
    def open(cls, source: str | os.PathLike[str]) -> "HuggingFaceTokenizer":
        """Opens the tokenizer of a model; a tokenizer.json is taken as it is.

        Args:
            source: a folder, a .gguf file, or owner/name on the Hugging Face hub.

        Raises:
            ValueError: there is none, it cannot be read, or it would need remote code; the message
                names the file and the remedy.
        """
        hub, ends = tokenizer_loading.open_source(source)
        try:
            return cls(hub, ends)
        except ValueError as error:
            raise ValueError(f"{os.fspath(source)}: {error}") from error

    @property
    def vocab_size(self) -> int:
        """Highest id + 1; the model's embedding may have more rows."""
        return len(self._bytes)

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`, without special tokens: none is added, and none is read from it."""
        ids = self._plain.encode(text, add_special_tokens=False).ids
        return self._spell(ids, self._special.names.keys())

    def _spell(self, ids: list[int], special: Set[int]) -> list[int]:
        """`ids` without these: ends that words of a text came to are spelled, the rest dropped."""
        if special.isdisjoint(ids):
            return ids
        spelled = self._special.spelled
        return [x for id_ in ids for x in (spelled.get(id_, ()) if id_ in special else [id_])]

    def decode(self, ids: Iterable[int]) -> str:
        """Text of `ids` where they follow others; special tokens are dropped, no UTF-8 is U+FFFD.

        The space that a tokenizer puts before every text (Llama 2) is there, too: transformers
        takes it away again, which is right for a whole text and wrong for a completion.

        Raises:
            ValueError: an id lies outside the vocabulary.
        """
        return _text(self._bytes, ids)

    def token_bytes(self) -> list[bytes]:
        """The bytes each id stands for, in the order of the ids; special tokens are empty.

        Joined over `encode(text)` they are the text's UTF-8 after the tokenizer's own changes: a
        space before it (Llama 2), Unicode's composed form (Qwen), "▁" as a space (SentencePiece).
        """
        return list(self._bytes)

    def name(self, token: int) -> str:
        """The token as the vocabulary writes it, such as "<|im_end|>" or "Ġthe"."""
        return self._marked.id_to_token(token) or ""

    def chat(
        self, messages: Sequence[Mapping[str, str]], reply: bool = True, begun: str = ""
    ) -> list[int]:
        """Token ids of a conversation in the model's own format, special tokens included.

        Special tokens are those that the template writes; in a message they are spelled out.

        Args:
            messages: each with a "role" and its "content".
            reply: ends with the head of the assistant's next message, for the model to go on.
            begun: what the model has written after that head.

        Raises:
            ValueError: there is no chat template, or it refuses the messages.
        """
        texts = "".join([begun, *(text for message in messages for text in message.values())])
        mark = next(char for char in map(chr, range(0xE000, 0xF900)) if char not in texts)
        ids = {text: id_ for id_, text in self._special.names.items()}
        special = chat_template.any_of(ids)

        def guard(text: str) -> str:
            return special.sub(lambda found: f"{mark}{ids[found[0]]}{mark}", text)

        guarded = [{name: guard(text) for name, text in m.items()} for m in messages]
        chat = self._template.write(guarded, reply) + guard(begun)
        if mark not in chat:
            found = self._marked.encode(chat, add_special_tokens=False).ids
            return self._spell(found, self._special.words)
        # A message holds the text of a special token: encode what is between the template's own.
        found, plain, end = [], "", 0
        for match in re.finditer(f"{mark}([0-9]+){mark}|{special.pattern}", chat):
            plain += chat[end : match.start()]
            end = match.end()
            if match[1]:
                plain += self._special.names[int(match[1])]
            else:
                found += [*self.encode(plain), ids[match[0]]]
                plain = ""
        return found + self.encode(plain + chat[end:])

    def save(self, folder: epath.PathLike) -> None:
        """Writes tokenizer.json and what belongs to it, for `open` and transformers' AutoTokenizer.

        Ends that are not the tokenizer's own go into generation_config.json if there is none yet.
        The folder may be a remote one (gs://).
        """
        tokenizer_loading.save(self._hub, folder)
        generation = epath.Path(folder) / "generation_config.json"
        if len(self.eos_ids) > 1 and not generation.exists():
            files.write_json(generation, {"eos_token_id": list(self.eos_ids)})


def _text(table: Sequence[bytes], ids: Iterable[int]) -> str:
    """The text of `ids` by a table of their bytes."""
    pieces = []
    for token in map(int, ids):
        if not 0 <= token < len(table):
            raise ValueError(
                f"token {token} is outside the vocabulary of {len(table)}: mask the logits "
                "of padded vocabulary entries before choosing a token"
            )
        pieces.append(table[token])
    return b"".join(pieces).decode(errors="replace")
