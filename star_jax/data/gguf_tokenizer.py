"""Builds the tokenizer that a GGUF file describes in its metadata; weights are not read.

A GGUF file lists tokens and merges, but gives only a name ("smollm") for the rule that splits text
into words before merging. llama.cpp defines the names. A table here has the rules of our families,
and any other name is refused: a guess would give other tokens than in training, without an error.
(transformers 5.23 uses GPT-2's rule for unknown names, "smollm" among them: 8 of GSM8K's first
1,000 questions get other tokens.)
"""

import dataclasses
import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from star_jax.storage import gguf_header

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SPACE = "▁"  # SentencePiece's character for a space

_NORMAL, _UNKNOWN, _CONTROL, _USER = 1, 2, 3, 4  # types of tokens
_ORDERED = ("gemma", "gemma2", "gemma3")  # architectures whose scores do not order their merges

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_TEKKEN = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*|\p{{N}}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclasses.dataclass(frozen=True)
class Cut:
    """The rule by which a byte-level tokenizer splits text into words; merges stay within words.

    Attributes:
        pattern: regular expression of a word.
        digits: whether each digit is split off as a word of its own first.
        whole: whether a word that is a token is taken whole, without looking at merges.
        begins: whether a document begins with the BOS token, unless the file says otherwise.
        composed: whether text is brought to Unicode's composed form (NFC) first.
    """

    pattern: str
    digits: bool = False
    whole: bool = False
    begins: bool = False
    composed: bool = False


_OF_LLAMA3 = Cut(_LLAMA3, whole=True, begins=True)
_OF_NEOX = Cut(_GPT2, composed=True)

# Value of "tokenizer.ggml.pre" -> rule, for the families that can be loaded. llama.cpp's converter
# recognizes a tokenizer by its tokens of one sample text, so GPT-J's is called "gpt-2", and
# GPT-NeoX's has the name of a later model with the same tokenizer.
CUTS: dict[str, Cut] = {
    "gpt-2": Cut(_GPT2),
    "mpt": _OF_NEOX,
    "olmo": _OF_NEOX,
    "smollm": Cut(_GPT2, digits=True),
    "llama-bpe": _OF_LLAMA3,
    "llama3": _OF_LLAMA3,
    "llama-v3": _OF_LLAMA3,
    "tekken": Cut(_TEKKEN, whole=True, begins=True),
    "qwen2": Cut(_LLAMA3.replace("{1,3}", ""), composed=True),
    "deepseek-r1-qwen": Cut(_LLAMA3.replace("{1,3}", "")),
}


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """The tokenizer of a GGUF file.

    Attributes:
        backend: tokenizer that encodes and decodes.
        special: "bos_token", "eos_token", "pad_token", "unk_token" -> the token, if there is one.
        ends: ids that end a text, or a turn of a chat.
        template: chat template in Jinja; None without one.
    """

    backend: "Tokenizer"
    special: dict[str, str]
    ends: tuple[int, ...]
    template: str | None


def open_vocabulary(path: str | os.PathLike[str]) -> Vocabulary:
    """Builds the tokenizer of a GGUF file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no GGUF, is cut off, or names an unknown tokenizer; the message
            names the file, the field and the remedy.
    """
    metadata = gguf_header.read(path).metadata
    try:
        return _vocabulary(metadata)
    except KeyError as error:
        raise ValueError(
            f"{os.fspath(path)}: no {error} in its metadata, so no tokenizer can be made of it; "
            "open the model's Hugging Face folder instead"
        ) from error
    except (TypeError, AttributeError) as error:  # a value of a wrong type
        raise ValueError(
            f"{os.fspath(path)}: its metadata is damaged ({error}); fetch the file again"
        ) from error
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from error


def _vocabulary(metadata: Mapping[str, Any]) -> Vocabulary:
    model = metadata["tokenizer.ggml.model"]
    builder = _BUILDERS.get(model)
    if builder is None:
        raise ValueError(
            f"tokenizer.ggml.model = {model!r} is not known, only "
            f"{' and '.join(map(repr, _BUILDERS))}; open the model's Hugging Face folder instead"
        )
    spaced = builder is _sentencepiece
    tokens, kinds = _tokens(metadata, spaced)
    backend = builder(metadata, tokens, kinds)
    _add_tokens(backend, tokens, kinds)
    names = {"bos": "bos", "eos": "eos", "pad": "padding", "unk": "unknown"}
    special = {
        f"{short}_token": tokens[id_]
        for short, name in names.items()
        if (id_ := _id(metadata, f"{name}_token_id", len(tokens))) is not None
    }
    ends = [_id(metadata, f"{name}_token_id", len(tokens)) for name in ("eos", "eot", "eom")]
    default = spaced or CUTS[metadata["tokenizer.ggml.pre"]].begins
    if "bos_token" in special and metadata.get("tokenizer.ggml.add_bos_token", default):
        _begin_with(backend, special["bos_token"])
    return Vocabulary(
        backend,
        special=special,
        ends=tuple(id_ for id_ in ends if id_ is not None),
        template=metadata.get("tokenizer.chat_template"),
    )


def _tokens(metadata: Mapping[str, Any], spaced: bool) -> tuple[list[str], list[int]]:
    """Returns tokens and their types; with `spaced`, spaces are written as `SPACE`."""
    tokens: list[str] = metadata["tokenizer.ggml.tokens"]
    kinds: list[int] = metadata.get("tokenizer.ggml.token_type", [_NORMAL] * len(tokens))
    if len(kinds) != len(tokens):
        raise ValueError(f"tokenizer.ggml.token_type: {len(kinds)} for {len(tokens)} tokens")
    if spaced:  # Gemma's files have plain spaces
        plain = (_NORMAL, _USER)
        pairs = zip(tokens, kinds, strict=True)
        tokens = [text.replace(" ", SPACE) if kind in plain else text for text, kind in pairs]
    if len(set(tokens)) < len(tokens):
        raise ValueError("tokenizer.ggml.tokens: the same token twice")
    return tokens, kinds


def _id(metadata: Mapping[str, Any], name: str, count: int) -> int | None:
    id_ = metadata.get(f"tokenizer.ggml.{name}")
    if id_ is not None and not 0 <= id_ < count:
        raise ValueError(f"tokenizer.ggml.{name} = {id_} is outside its {count} tokens")
    return id_


def _byte_level(metadata: Mapping[str, Any], tokens: list[str], kinds: list[int]) -> "Tokenizer":
    """Returns a byte-level BPE tokenizer, like GPT-2's."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    del kinds
    name = metadata["tokenizer.ggml.pre"]
    cut = CUTS.get(name)
    if cut is None:
        raise ValueError(
            f"tokenizer.ggml.pre = {name!r} is not known, only {', '.join(map(repr, CUTS))}; open "
            "the model's Hugging Face folder instead, whose tokenizer.json spells it out"
        )
    vocabulary = {token: id_ for id_, token in enumerate(tokens)}
    merges = _listed_merges(metadata["tokenizer.ggml.merges"], vocabulary)
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=cut.whole))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            *([pre_tokenizers.Digits(individual_digits=True)] if cut.digits else []),
            pre_tokenizers.Split(Regex(cut.pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    if cut.composed:
        backend.normalizer = normalizers.NFC()
    backend.decoder = decoders.ByteLevel()
    return backend


def _sentencepiece(metadata: Mapping[str, Any], tokens: list[str], kinds: list[int]) -> "Tokenizer":
    """Returns a BPE tokenizer over characters, with bytes for characters that are no token."""
    from tokenizers import Tokenizer, decoders, models, normalizers

    vocabulary = {token: id_ for id_, token in enumerate(tokens)}
    if "tokenizer.ggml.merges" in metadata:
        merges = _listed_merges(metadata["tokenizer.ggml.merges"], vocabulary)
    else:
        # transformers' note on Gemma: its merges follow the order of the list, not the scores.
        ordered = metadata.get("general.architecture") in _ORDERED
        order = [-id_ for id_ in range(len(tokens))]
        scores = order if ordered else metadata["tokenizer.ggml.scores"]
        if len(scores) != len(tokens):
            raise ValueError(f"tokenizer.ggml.scores: {len(scores)} for {len(tokens)} tokens")
        merges = _merges(tokens, kinds, scores)
    backend = Tokenizer(
        models.BPE(vocab=vocabulary, merges=merges, fuse_unk=True, byte_fallback=True)
    )
    prefixed = metadata.get("tokenizer.ggml.add_space_prefix", True)
    spaces = normalizers.Replace(" ", SPACE)
    backend.normalizer = (
        normalizers.Sequence([normalizers.Prepend(SPACE), spaces]) if prefixed else spaces
    )
    tail = [decoders.Strip(content=" ", left=1, right=0)] if prefixed else []
    backend.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *tail]
    )
    return backend


_Builder = Callable[[Mapping[str, Any], list[str], list[int]], "Tokenizer"]
_BUILDERS: dict[str, _Builder] = {"gpt2": _byte_level, "llama": _sentencepiece}


def _listed_merges(lines: Sequence[str], vocabulary: Mapping[str, int]) -> list[tuple[str, str]]:
    """Returns the merges that a file lists; each joins two tokens to a third."""
    merges = []
    for line in lines:
        left, _, right = line.partition(" ")
        if not (left in vocabulary and right in vocabulary and left + right in vocabulary):
            raise ValueError(f"tokenizer.ggml.merges: {line!r} does not make a token of two others")
        merges.append((left, right))
    return merges


def _merges(
    tokens: Sequence[str], kinds: Sequence[int], scores: Sequence[float]
) -> list[tuple[str, str]]:
    """Returns every merge of two tokens to a third, the third with the best score first.

    SentencePiece merges the neighbours whose union has the best score; merges in this order do the
    same. Merges give normal tokens only: no text may become a control token, or a byte token.
    """
    plain = {
        token: score
        for token, kind, score in zip(tokens, kinds, scores, strict=True)
        if kind == _NORMAL and math.isfinite(score)
    }
    merges = [
        (score, len(left), len(right), left, right)
        for token, score in plain.items()
        for at in range(1, len(token))
        if (left := token[:at]) in plain and (right := token[at:]) in plain
    ]
    merges.sort(key=lambda item: item[:3], reverse=True)
    return [(left, right) for *_, left, right in merges]


def _add_tokens(backend: "Tokenizer", tokens: Sequence[str], kinds: Sequence[int]) -> None:
    """Adds control tokens as special tokens, and user-defined ones as whole in any text."""
    from tokenizers import AddedToken

    special = [
        AddedToken(token, special=True, normalized=False)
        for token, kind in zip(tokens, kinds, strict=True)
        if kind in (_UNKNOWN, _CONTROL)
    ]
    # `normalized`: a run of spaces is matched after normalization has replaced " " by `SPACE`.
    user = [
        AddedToken(token, special=False, normalized=SPACE in token)
        for token, kind in zip(tokens, kinds, strict=True)
        if kind == _USER
    ]
    backend.add_special_tokens(special)
    backend.add_tokens(user)


def _begin_with(backend: "Tokenizer", token: str) -> None:
    """Puts `token` before every document that is encoded with special tokens."""
    from tokenizers import processors

    id_ = backend.token_to_id(token)
    backend.post_processor = processors.TemplateProcessing(
        single=f"{token} $A", pair=f"{token} $A {token} $B", special_tokens=[(token, id_)]
    )
