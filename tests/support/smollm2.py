"""SmolLM2-135M-Instruct for tests: fetched once into the cache, and no test where it cannot be had."""

import atexit
import functools
import pathlib
import shutil
import tempfile

import real_models
from experiments.fetch_smollm2 import SMOLLM2
from star_jax.data.gguf_tokenizer import Vocabulary, open_vocabulary
from star_jax.data.tokenizer import HuggingFaceTokenizer


def gguf() -> pathlib.Path:
    """The GGUF file: 30 layers of 576, 4-bit weights, 49,152 tokens."""
    return real_models.gguf(SMOLLM2)


@functools.cache
def vocabulary() -> Vocabulary:
    """What the file says of its tokenizer; for reading only."""
    return open_vocabulary(gguf())


@functools.cache
def tokenizer() -> HuggingFaceTokenizer:
    """Its tokenizer, opened from the GGUF file once a process."""
    return HuggingFaceTokenizer.open(gguf())


@functools.cache
def folder() -> pathlib.Path:
    """A Hugging Face folder of the tokenizer alone, without weights; for reading only."""
    made = pathlib.Path(tempfile.mkdtemp(prefix="star_jax-smollm2-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    tokenizer().save(made)
    return made
