"""Gemma 3 270M, a real model whose tokenizer is SentencePiece's, against transformers on torch."""

import functools
import itertools
import pathlib
import re

import jax
import numpy as np
import pytest

import hugging_face as hf
import real_models
import texts
from experiments.fetch_gemma3 import GEMMA3
from star_jax.conversion import load
from star_jax.data.gguf_tokenizer import SPACE
from star_jax.data.tokenizer import HuggingFaceTokenizer
from star_jax.runtime import sharding
from star_jax.storage import gguf_header

ROWS, LONGEST, NEW = 10, 48, 24
NORMAL, USER, BYTE = 1, 4, 6


@functools.cache
def gguf() -> pathlib.Path:
    """18 layers of 640, of which every sixth sees all tokens; 262,144 tokens."""
    return real_models.gguf(GEMMA3)


@functools.cache
def tokenizer() -> HuggingFaceTokenizer:
    return HuggingFaceTokenizer.open(gguf())


class Reference:
    """SentencePiece's BPE over the tokens and scores of a GGUF file, from its definition.

    Of all neighbours whose union is a token those that score best are merged, the leftmost of
    equals first. What a maker has defined is taken whole before, the longest that fits.
    """

    def __init__(self, path: pathlib.Path) -> None:
        metadata = gguf_header.read(path).metadata
        fields = [metadata[f"tokenizer.ggml.{name}"] for name in ("tokens", "scores", "token_type")]
        every = [(id_, *each) for id_, each in enumerate(zip(*fields, strict=True))]
        self.normal = {text: (score, id_) for id_, text, score, kind in every if kind == NORMAL}
        self.bytes = {int(text[3:5], 16): id_ for id_, text, _, kind in every if kind == BYTE}
        self.defined = {
            text.replace(" ", SPACE): id_ for id_, text, _, kind in every if kind == USER
        }
        longest_first = sorted(self.defined, key=len, reverse=True)
        self.pattern = re.compile(f"({'|'.join(map(re.escape, longest_first))})")

    def encode(self, text: str) -> list[int]:
        pieces = self.pattern.split(text.replace(" ", SPACE))
        return list(itertools.chain(*map(self._merge, pieces)))

    def _merge(self, piece: str) -> list[int]:
        if piece in self.defined:
            return [self.defined[piece]]
        symbols = list(piece)
        while True:
            unions = [a + b for a, b in itertools.pairwise(symbols)]
            scores = [self.normal.get(union, (-np.inf, 0))[0] for union in unions]
            if not scores or max(scores) == -np.inf:
                break
            at = scores.index(max(scores))
            symbols[at : at + 2] = [unions[at]]
        found = []
        for symbol in symbols:
            known = self.normal.get(symbol)
            found += [known[1]] if known else [self.bytes[byte] for byte in symbol.encode()]
        return found


@pytest.fixture(scope="module")
def loaded() -> load.Loaded:
    return load.load(str(gguf()), sharding.make_mesh(devices=jax.devices()[:1]))


def test_ids_are_those_of_its_tokens_and_scores():
    reference = Reference(gguf())
    spaced = [re.sub(r"[.,] ", ".\n\n  ", question) for question in texts.questions(100)]
    nasty = [text for text in texts.NASTY if len(text) < 1000 and SPACE not in text]
    for text in (*texts.questions(100), *texts.solutions(100), *spaced, *nasty):
        assert tokenizer().encode(text) == reference.encode(text), text
        assert tokenizer().decode(tokenizer().encode(text)) == text


def test_documents_begin_and_end_as_the_file_says():
    assert (tokenizer().bos_id, tokenizer().eos_id, tokenizer().pad_id) == (2, 1, 0)


@pytest.mark.torch
def test_greedy_texts_and_logits_are_those_of_transformers(loaded: load.Loaded):
    rows = [[2, *tokenizer().encode(f"Q: {text}\nA:")] for text in texts.questions(200)]
    prompts = [row for row in rows if len(row) <= LONGEST][:ROWS]
    assert len(prompts) == ROWS
    written = real_models.greedy(loaded, tokenizer(), prompts, NEW)
    theirs = real_models.theirs(gguf())
    gaps = real_models.gaps(theirs, prompts, written)
    assert all(gap < 1e-3 for gap in gaps) and len(gaps) <= 1
    few = np.array([[*prompts[0], *written[0]]])
    np.testing.assert_allclose(hf.ours(loaded, few), hf.theirs(theirs, few), atol=1e-3, rtol=0)
