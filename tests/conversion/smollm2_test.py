"""SmolLM2-135M-Instruct, a real model, against transformers on torch."""

import functools
import pathlib
import tracemalloc

import jax
import numpy as np
import pytest
from transformers import AutoTokenizer

import hugging_face as hf
import real_models
import smollm2
import texts
import toys
from star_jax.conversion import export, load
from star_jax.runtime import sharding

ROWS, LONGEST, NEW = 50, 64, 64
MARGIN = 1e-3  # where our token is not theirs, their logits of both are at most so far apart


@pytest.fixture(scope="module")
def loaded() -> load.Loaded:
    return load.load(str(smollm2.gguf()), sharding.make_mesh(devices=jax.devices()[:1]))


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


@pytest.mark.torch
def test_fifty_greedy_continuations_are_those_of_transformers(
    loaded: load.Loaded, exported: pathlib.Path
):
    _, transformers = hf.torch_and_transformers()
    assert len(prompts()) == ROWS
    written = real_models.greedy(loaded, smollm2.tokenizer(), prompts(), NEW)
    theirs = real_models.theirs(smollm2.gguf())
    gaps = real_models.gaps(theirs, prompts(), written)
    assert all(gap < MARGIN for gap in gaps)
    assert len(gaps) <= 2, "such near ties are rare"
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
    split = load.load(str(smollm2.gguf()), sharding.make_mesh(1, 8, 1))
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
