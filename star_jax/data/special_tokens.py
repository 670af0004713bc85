"""Finds the tokens that no text may encode to: special tokens, and tokens that end texts."""

import copy
from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import tokenizers


class Special(NamedTuple):
    """A tokenizer, and its tokens that no text may encode to.

    Attributes:
        backend: tokenizer that encodes the names of such tokens, which chat templates write, to
            those tokens.
        names: id -> name of all such tokens.
        spelled: id -> ids that spell its name, for end tokens that the vocabulary does not call
            special; merges may still produce these ids from text.
        words: ids in `spelled` that `backend` does not recognize by name: ordinary words.
    """

    backend: "tokenizers.Tokenizer"
    names: dict[int, str]
    spelled: dict[int, list[int]]
    words: frozenset[int]


def find(backend: "tokenizers.Tokenizer", ends: Collection[int]) -> Special:
    """Finds the special tokens of a tokenizer whose texts end with `ends`.

    `backend` is copied before tokens are added to it. Its parsing of special tokens is turned on.

    Raises:
        ValueError: an end is a single character, which texts need.
    """
    from tokenizers import AddedToken

    added = backend.get_added_tokens_decoder()
    names = {id_: token.content for id_, token in added.items() if token.special}
    more = {id_: backend.id_to_token(id_) for id_ in ends if id_ not in names}
    more = {id_: name for id_, name in more.items() if name}  # an id without a name is in no text
    spelled = {id_: _spell(backend, name, ends) for id_, name in more.items()}
    # The name of a word is not its text: a space is written as "Ġ" or "▁".
    recognized = [
        id_ for id_, name in more.items() if id_ in added or name.isascii() and name.strip()
    ]
    if recognized:
        backend = copy.deepcopy(backend)
        backend.add_special_tokens(
            [AddedToken(more[id_], special=True, normalized=False) for id_ in recognized]
        )
    backend.encode_special_tokens = False
    return Special(backend, names | more, spelled, frozenset(more.keys() - set(recognized)))


def _spell(backend: "tokenizers.Tokenizer", name: str, ends: Collection[int]) -> list[int]:
    """Returns the ids of the characters of a token's name."""
    ids = [token.id for char in name for token in backend.model.tokenize(char)]
    if len(name) < 2 or not set(ids).isdisjoint(ends):
        raise ValueError(
            f"{name!r} ends texts, and is also a character that texts are made of: take it out of "
            "eos_token_id in generation_config.json, and end completions with config.sampler.stop"
        )
    return ids
