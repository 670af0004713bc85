"""SmolLM2-135M-Instruct for tests: fetched once into the cache, and no test where it cannot be had."""

import atexit
import functools
import importlib.util
import pathlib
import shutil
import tempfile

import pytest

from star_jax.gguf_vocabulary import Vocabulary, open_vocabulary
from star_jax.tokenizer import HuggingFaceTokenizer

ROOT = pathlib.Path(__file__).parents[1]


def fetching():
    """The module that fetches it, experiments/fetch_smollm2.py."""
    path = ROOT / "experiments/fetch_smollm2.py"
    spec = importlib.util.spec_from_file_location("fetch_smollm2", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@functools.cache
def _fetched() -> pathlib.Path | str:
    """Its path, or why there is none: asked once a process."""
    module = fetching()
    try:
        return module.fetch(module.cache_folder())
    except (module.FetchError, OSError) as error:
        return str(error)


def gguf() -> pathlib.Path:
    """The GGUF file: 30 layers of 576, 4-bit weights, 49,152 tokens."""
    found = _fetched()
    if isinstance(found, str):
        pytest.fail(f"no SmolLM2: {found}")
    return found


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
