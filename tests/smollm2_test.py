"""SmolLM2-135M-Instruct, a real model, against transformers on torch."""

import functools
import pathlib
import tracemalloc
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from transformers import AutoTokenizer

import hugging_face as hf
import smollm2
import texts
import toys
from star_jax import mesh
from star_jax.model import abstract, export, load
from star_jax.sampler.decode import Prompts, decode, make_stop
from star_jax.sampler.select import Selection

ROWS, LONGEST, NEW = 50, 64, 64
BATCH = 10  # of their rows at a time
MARGIN = 1e-3  # where our token is not theirs, their logits of both are at most so far apart


@pytest.fixture(scope="module")
def loaded() -> load.Loaded:
    return load.load(str(smollm2.gguf()), mesh.make_mesh(devices=jax.devices()[:1]))


@pytest.fixture(scope="module")
def exported(loaded: load.Loaded, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("smollm2") / "export"
    arguments = (loaded.params, loaded.config, loaded.family, loaded.hf_config)
    return export.export(*arguments, smollm2.tokenizer(), folder)


@functools.cache
def prompts() -> list[list[int]]:
    """Questions of GSM8K, as tokens."""
    rows = [smollm2.tokenizer().encode(f"Q: {question}\nA:") for question in texts.questions(400)]
    return [row for row in rows if len(row) <= LONGEST][:ROWS]


def greedy(loaded: load.Loaded) -> np.ndarray:
    """What ours writes after each prompt, [ROWS, NEW]; it goes on past the end of a text."""
    tokens = np.zeros((ROWS, LONGEST), np.int32)
    start = np.array([LONGEST - len(row) for row in prompts()], np.int32)
    for row, first, prompt in zip(tokens, start, prompts(), strict=True):
        row[first:] = prompt
    vocab = loaded.config.vocab - loaded.config.padding
    stop = make_stop((), "", smollm2.tokenizer().token_bytes()[:vocab], loaded.config.vocab)

    @jax.jit
    def run(params: Any, questions: Prompts) -> Any:
        model = nnx.merge(abstract.graph(loaded.config), params)
        return decode(model, questions, None, budget=NEW, stop=stop, selection=Selection())

    rows = (jnp.asarray(tokens), jnp.asarray(start), jnp.arange(ROWS))
    written = run(loaded.params, Prompts(*rows, jnp.zeros(3, jnp.uint32)))
    assert (np.asarray(written.length) == NEW).all()
    return np.asarray(written.tokens)


@pytest.mark.torch
def test_fifty_greedy_continuations_are_those_of_transformers(
    loaded: load.Loaded, exported: pathlib.Path
):
    """Theirs is asked for the token after every one of ours: by induction its text is ours."""
    torch, transformers = hf.torch_and_transformers()
    assert len(prompts()) == ROWS
    written = greedy(loaded)
    # transformers reads the GGUF by itself: nothing of ours is between the file and its logits
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        smollm2.gguf().parent, gguf_file=smollm2.gguf().name, dtype=torch.float32
    ).eval()
    differing = 0
    for first in range(0, ROWS, BATCH):
        lengths = [len(row) for row in prompts()[first : first + BATCH]]
        whole = np.zeros((BATCH, LONGEST + NEW), np.int64)  # padded on the right, seen by nothing
        for row, prompt, more in zip(whole, prompts()[first:], written[first:], strict=False):
            row[: len(prompt) + NEW] = [*prompt, *more]
        every = hf.theirs(theirs, whole)
        for row, length, ours in zip(every, lengths, written[first:], strict=False):
            logits = row[length - 1 : length - 1 + NEW]
            other = np.flatnonzero(logits.argmax(-1) != ours)
            if other.size:
                differing += 1
                at = logits[other[0]]
                assert at.max() - at[ours[other[0]]] < MARGIN
    assert differing <= 2, "such near ties are rare"
    opened, said = transformers.AutoModelForCausalLM.from_pretrained(
        exported, output_loading_info=True
    )
    assert not any(said.values())
    few = np.array([prompts()[0]])
    np.testing.assert_array_equal(hf.theirs(opened.eval(), few), hf.theirs(theirs, few))
    np.testing.assert_allclose(hf.ours(loaded, few), hf.theirs(theirs, few), atol=2e-4, rtol=0)


@toys.eight_devices
def test_the_host_holds_one_tensor_at_a_time_for_eight_devices(
    loaded: load.Loaded, monkeypatch: pytest.MonkeyPatch
):
    read, made, beyond = load._read, [], []

    def measured(files, places, leaf):
        tracemalloc.reset_peak()
        made.append(read(files, places, leaf))
        _, peak = tracemalloc.get_traced_memory()
        beyond.append(peak - sum(x.nbytes for x in made))  # a CPU may go on using all shards
        return made[-1]

    monkeypatch.setattr(load, "_read", measured)
    tracemalloc.start()
    split = load.load(str(smollm2.gguf()), mesh.make_mesh(1, 8, 1))
    tracemalloc.stop()
    leaves = jax.tree.leaves(loaded.params)
    assert len(beyond) == len(leaves)
    # The tensor, and what is dequantized at once.
    assert max(beyond) < 1.5 * max(leaf.nbytes for leaf in leaves)
    assert hf.same(jax.tree.map(np.asarray, split.params), loaded.params)


def test_the_export_has_the_tokenizer_and_the_chat_template(exported: pathlib.Path):
    theirs = AutoTokenizer.from_pretrained(exported)
    for text in texts.questions(20):
        assert theirs(text, add_special_tokens=False).input_ids == smollm2.tokenizer().encode(text)
    messages = [{"role": "user", "content": "What is 6 + 7?"}]
    said = theirs.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert said == smollm2.tokenizer().chat(messages)
