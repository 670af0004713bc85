"""SmolLM2-135M-Instruct, a real model, against transformers on torch."""

import functools
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import hugging_face as hf
import smollm2
import texts
from star_jax import mesh, state
from star_jax.model import export, load
from star_jax.sampler.decode import Prompts, decode, make_stop
from star_jax.sampler.select import Selection

ROWS, LONGEST, NEW = 50, 64, 64
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
    stop = make_stop(-1, "", smollm2.tokenizer().token_bytes()[:vocab], loaded.config.vocab)

    @jax.jit
    def run(params: Any, questions: Prompts) -> Any:
        model = nnx.merge(state.graph(loaded.config), params)
        return decode(model, questions, None, budget=NEW, stop=stop, selection=Selection())

    keys = jax.random.split(jax.random.key(0), ROWS)
    written = run(loaded.params, Prompts(jnp.asarray(tokens), jnp.asarray(start), keys))
    assert (np.asarray(written.length) == NEW).all()
    return np.asarray(written.tokens)


def test_fifty_greedy_continuations_are_those_of_transformers(
    loaded: load.Loaded, exported: pathlib.Path
):
    torch, transformers = hf.torch_and_transformers()
    assert len(prompts()) == ROWS
    written = greedy(loaded)
    # transformers reads the GGUF by itself: nothing of ours is between the file and its logits
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        smollm2.gguf().parent, gguf_file=smollm2.gguf().name, dtype=torch.float32
    ).eval()
    opened, said = transformers.AutoModelForCausalLM.from_pretrained(
        exported, output_loading_info=True
    )
    assert not any(said.values())
    differing = 0
    for prompt, continuation in zip(prompts(), written, strict=True):
        whole = torch.tensor([[*prompt, *continuation.tolist()]])
        with torch.no_grad():
            logits = theirs(whole).logits[0, len(prompt) - 1 : -1].numpy()
        first = next((n for n in range(NEW) if logits[n].argmax() != continuation[n]), None)
        if first is not None:
            differing += 1
            assert logits[first].max() - logits[first][continuation[first]] < MARGIN
    assert differing <= 2, "such near ties are rare"
    with torch.no_grad():
        few = torch.tensor([prompts()[0]])
        np.testing.assert_allclose(
            opened.eval()(few).logits.numpy(), theirs(few).logits.numpy(), atol=1e-3
        )


def test_the_export_has_the_tokenizer_and_the_chat_template(exported: pathlib.Path):
    _, transformers = hf.torch_and_transformers()
    theirs = transformers.AutoTokenizer.from_pretrained(exported)
    for text in texts.questions(20):
        assert theirs(text, add_special_tokens=False).input_ids == smollm2.tokenizer().encode(text)
    messages = [{"role": "user", "content": "What is 6 + 7?"}]
    said = theirs.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert said == smollm2.tokenizer().chat(messages)
