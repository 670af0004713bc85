"""Tokens that no text holds: those a vocabulary calls special, and those that end texts."""

import copy
from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import tokenizers


class Special(NamedTuple):
    """A tokenizer and its tokens that no text holds.

    Attributes:
        backend: it reads such tokens where their names stand, as a chat template writes them.
        names: id -> name, of all of them.
        spelled: id -> the ids that spell it, of ends that the vocabulary does not call special. By
            merges, text may come to them all the same.
        words: those of `spelled` that `backend` does not read by their names: ordinary words.
    """

    backend: "tokenizers.Tokenizer"
    names: dict[int, str]
    spelled: dict[int, list[int]]
    words: frozenset[int]


def find(backend: "tokenizers.Tokenizer", ends: Collection[int]) -> Special:
    """What is special in a tokenizer whose texts end with `ends`; it is copied, if changed at all.

    Raises:
        ValueError: an end is a single character, which texts cannot do without.
    """
    from tokenizers import AddedToken

    added = backend.get_added_tokens_decoder()
    names = {id_: token.content for id_, token in added.items() if token.special}
    more = {id_: backend.id_to_token(id_) for id_ in ends if id_ not in names}
    more = {id_: name for id_, name in more.items() if name}  # or it is in no text anyway
    spelled = {id_: _spell(backend, name, ends) for id_, name in more.items()}
    # The names of words are not as they stand in a text: "Ġ" or "▁" is their space.
    read = [id_ for id_, name in more.items() if id_ in added or name.isascii() and name.strip()]
    if read:
        backend = copy.deepcopy(backend)
        backend.add_special_tokens(
            [AddedToken(more[id_], special=True, normalized=False) for id_ in read]
        )
    backend.encode_special_tokens = False
    return Special(backend, names | more, spelled, frozenset(more.keys() - set(read)))


def _spell(backend: "tokenizers.Tokenizer", name: str, ends: Collection[int]) -> list[int]:
    """The ids of a token's characters."""
    found = [token.id for char in name for token in backend.model.tokenize(char)]
    if len(name) < 2 or not set(found).isdisjoint(ends):
        raise ValueError(
            f"{name!r} ends texts, and is also a character that texts are made of: take it out of "
            "eos_token_id in generation_config.json, and end completions with config.sampler.stop"
        )
    return found
