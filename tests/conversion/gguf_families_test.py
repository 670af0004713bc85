"""Every family through a GGUF file, as llama.cpp's converter writes it, against transformers."""

import pathlib
from typing import Any

import numpy as np
import pytest

import gguf_toys
import hugging_face as hf
import toys
from star_jax.conversion import gguf_families, load
from star_jax.conversion.safetensors import LoadError

# name -> the variant of hugging_face, what of it a GGUF file can say, and metadata of that
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "gpt2": ("gpt2", {}, {}),
    "gpt2, untied": ("gpt2", {"n_inner": 20, "tie_word_embeddings": False}, {}),
    "gptj": ("gptj", {}, {}),
    "gptj, tied": ("gptj", {"n_inner": None, "tie_word_embeddings": True}, {}),
    "gptneox": ("gpt_neox", {"rotary_emb_base": 10_000}, {}),
    "gptneox, one after the other": (
        "gpt_neox",
        {"use_parallel_residual": False, "attention_bias": False, "tie_word_embeddings": True},
        {"rope.freq_base": 100.0},
    ),
    "llama": ("llama", {"rope_parameters": {"rope_type": "default", "rope_theta": 100.0}}, {}),
    "llama, linear": ("llama-old", {}, {}),
    "llama, linear, not said": ("llama-old", {}, {"rope.scaling.type": None}),
    "llama, linear, an old file": (
        "llama-old",
        {},
        {"rope.scaling.type": None, "rope.scaling.factor": None, "rope.scale_linear": 2.5},
    ),
    "mistral": ("mistral-full", {}, {}),
    "qwen2": ("qwen2", {"use_sliding_window": False}, {}),
    "qwen3": (
        "qwen3",
        {"use_sliding_window": False, "layer_types": ["full_attention"] * 3},
        {},
    ),
    "qwen3, tied": ("qwen3-tied", {}, {}),
    "gemma2": ("gemma2", {"query_pre_attn_scalar": 8}, {}),
    "gemma2, without windows": (
        "gemma2",
        {"query_pre_attn_scalar": 8, "layer_types": ["full_attention"] * 3},
        {"attention.sliding_window_pattern": 1},
    ),
    "gemma3": (
        "gemma3",
        {
            "query_pre_attn_scalar": 8,
            "num_hidden_layers": 7,
            "layer_types": [*["sliding_attention"] * 5, "full_attention", "sliding_attention"],
        },
        {},
    ),
    "gemma3, its layers named": (
        "gemma3",
        {"query_pre_attn_scalar": 8, "tie_word_embeddings": False},
        {"attention.sliding_window_pattern": [True, False, True]},
    ),
}


def rounded(name: str, changes: dict[str, Any], folder: pathlib.Path, monkeypatch: Any) -> Any:
    """A model of transformers whose weights are bfloat16's, as those that are converted are."""
    torch, _ = hf.torch_and_transformers()
    monkeypatch.setitem(hf.VARIANTS, "it", {**hf.VARIANTS[name], **changes})
    model = hf.make("it", folder)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(weight.bfloat16())
    config = (folder / "config.json").read_text()
    model.save_pretrained(folder)
    (folder / "config.json").write_text(config)
    return model


@pytest.mark.torch
@pytest.mark.parametrize("name", CASES)
def test_a_gguf_is_the_model_it_was_made_from(
    name: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
    variant, changes, metadata = CASES[name]
    model = rounded(variant, changes, tmp_path / "folder", monkeypatch)
    gguf_toys.write(model, tmp_path / "m.gguf", metadata)
    loaded = load.load(str(tmp_path / "m.gguf"), toys.one_device())
    original = load.load(str(tmp_path / "folder"), toys.one_device())
    assert loaded.config == original.config
    assert hf.same(loaded.params, original.params)
    tokens = hf.tokens()
    expected = hf.theirs(model, tokens)
    np.testing.assert_allclose(hf.ours(loaded, tokens), expected, atol=2e-4, rtol=0)


def test_every_architecture_is_tried():
    assert {gguf_toys.ARCHITECTURES[hf.VARIANTS[v]["model_type"]] for v, *_ in CASES.values()} == {
        *gguf_families.ARCHITECTURES
    }


SIZES = {
    "context_length": 64,
    "embedding_length": 96,
    "block_count": 2,
    "feed_forward_length": 20,
    "attention.head_count": 4,
}
RMS, LAYER = "attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon"


def read(architecture: str, **changes: Any) -> dict[str, Any]:
    """config.json of a file of 43 tokens that says little; of a key "__" is a point, None is gone."""
    epsilon = LAYER if architecture.startswith("gpt") else RMS
    said = SIZES | {epsilon: 9.999999974752427e-07}
    said |= {key.replace("__", "."): value for key, value in changes.items()}
    said = {f"{architecture}.{key}": value for key, value in said.items() if value is not None}
    metadata = {"general.architecture": architecture, "tokenizer.ggml.eos_token_id": 7, **said}
    return gguf_families.read_config(metadata, {"token_embd.weight": (43, 96)}, "m.gguf")


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (read("gpt2"), {"n_embd": 96, "n_inner": 20, "vocab_size": 43, "eos_token_id": 7}),
        (read("gptj"), {"rotary_dim": 24, "layer_norm_epsilon": 1e-6}),
        (
            read("gptneox", rope__dimension_count=6),
            {
                "rope_parameters": {"rope_theta": 1e4, "rope_type": "default"}
                | {"partial_rotary_factor": 0.25}
            },
        ),
        (read("llama", attention__key_length=8), {"head_dim": 8, "num_key_value_heads": 4}),
        (
            read("llama", rope__scaling__type="none", rope__scaling__factor=4.0),
            {"rope_parameters": {"rope_theta": 1e4, "rope_type": "default"}},
        ),
        # of 27B alone, which its number of layers gives away, queries are scaled otherwise
        (read("gemma2", attention__key_length=32), {"query_pre_attn_scalar": 32}),
        (read("gemma2", block_count=46, attention__key_length=32), {"query_pre_attn_scalar": 24}),
        (read("gemma3", block_count=62, attention__key_length=32), {"query_pre_attn_scalar": 24}),
        (read("gemma2"), {"layer_types": ["sliding_attention", "full_attention"]}),
        (read("gemma2"), {"sliding_window": 4096}),
        (read("gemma3"), {"layer_types": ["full_attention"] * 2, "sliding_window": None}),
        (
            read("gemma3", attention__sliding_window=8, attention__sliding_window_pattern=0),
            {"layer_types": ["sliding_attention"] * 2, "sliding_window": 8},
        ),
    ],
)
def test_what_metadata_means(config: dict[str, Any], expected: dict[str, Any]):
    assert {key: config[key] for key in expected} == expected


@pytest.mark.parametrize("size", [6, 7, 49, 64, 80, 98, 107])
def test_any_number_of_dimensions_can_be_rotated(size: int):
    for rotated in range(2, size, 2):
        config = read("gptneox", embedding_length=4 * size, rope__dimension_count=rotated)
        assert int(size * config["rope_parameters"]["partial_rotary_factor"]) == rotated


@pytest.mark.parametrize(
    ("architecture", "changes", "message"),
    [
        ("phi2", {}, r"general.architecture = 'phi2' is not implemented; these are: gpt2, gptj,"),
        ("gpt2", {"rope__freq_base": 10.0}, r"gpt2.rope.freq_base = 10.0 may change the computa"),
        ("gptj", {"attention__head_count_kv": 2}, r"gptj.attention.head_count_kv = 2 may change"),
        ("gptj", {"attention__causal": False}, r"gptj.attention.causal = False may change"),
        ("llama", {"rope__scaling__type": "yarn"}, r"llama.rope.scaling.type = 'yarn' may change"),
        ("qwen2", {"attention__value_length": 8}, r"qwen2.attention.value_length = 8 may change"),
        ("gemma2", {"rope__freq_base_swa": 10.0}, r"gemma2.rope.freq_base_swa = 10.0 may change"),
        ("gemma3", {"attn_logit_softcapping": 5.0}, r"gemma3.attn_logit_softcapping = 5.0 may"),
        ("gemma3", {"block_count": [1, 2]}, r"gemma3.block_count is no size of a model; download"),
        ("gemma3", {"embedding_length": 0}, r"gemma3.embedding_length is no size of a model"),
        ("gptneox", {"context_length": None}, r"gptneox.context_length is no size of a model"),
        ("gptneox", {LAYER: None}, r"gptneox.attention.layer_norm_epsilon is missing"),
        ("qwen3", {"attention__key_length": 1.5}, r"qwen3.attention.key_length = 1.5: must be a"),
    ],
)
def test_what_may_change_the_computation_is_refused(
    architecture: str, changes: dict[str, Any], message: str
):
    with pytest.raises(LoadError, match=f"^m.gguf: {message}"):
        read(architecture, **changes)
