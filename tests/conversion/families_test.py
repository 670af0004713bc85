import dataclasses
import pathlib
from typing import Any

import numpy as np
import pytest

import hugging_face
import toys
from hugging_face import VARIANTS
from star_jax.conversion import families, load
from star_jax.conversion.config_fields import FamilyError
from star_jax.models.config import RopeScaling

LLAMA = {
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "hidden_size": 2048,
    "num_hidden_layers": 2,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 8192,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-05,
    "initializer_range": 0.02,
    "attention_dropout": 0.0,
    "use_cache": True,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.45.0",
}

# config.json as it is on the hub (fewer layers), and some of what it means.
HUB: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "EleutherAI/gpt-j-6B": (
        {
            "model_type": "gptj",
            "architectures": ["GPTJForCausalLM"],
            "activation_function": "gelu_new",
            "attn_pdrop": 0.0,
            "gradient_checkpointing": False,
            "layer_norm_epsilon": 1e-05,
            "n_embd": 4096,
            "n_head": 16,
            "n_inner": None,
            "n_layer": 28,
            "n_positions": 2048,
            "rotary": True,
            "rotary_dim": 64,
            "scale_attn_weights": True,
            "summary_type": "cls_index",
            "task_specific_params": {"text-generation": {"do_sample": True}},
            "tie_word_embeddings": False,
            "tokenizer_class": "GPT2Tokenizer",
            "vocab_size": 50400,
        },
        {"width": 4096, "head_dim": 256, "hidden": 16384, "rotary": 64, "rotary_pairs": "adjacent"},
    ),
    "openai-community/gpt2": (
        {
            "model_type": "gpt2",
            "architectures": ["GPT2LMHeadModel"],
            "activation_function": "gelu_new",
            "layer_norm_epsilon": 1e-05,
            "n_ctx": 1024,
            "n_embd": 768,
            "n_head": 12,
            "n_layer": 12,
            "n_positions": 1024,
            "summary_proj_to_labels": True,
            "vocab_size": 50257,
        },
        {"tied": True, "learned_positions": True, "rotary": 0, "hidden": 3072, "parallel": False},
    ),
    "EleutherAI/pythia-70m": (
        {
            "model_type": "gpt_neox",
            "architectures": ["GPTNeoXForCausalLM"],
            "hidden_act": "gelu",
            "hidden_size": 512,
            "intermediate_size": 2048,
            "layer_norm_eps": 1e-05,
            "max_position_embeddings": 2048,
            "num_attention_heads": 8,
            "num_hidden_layers": 6,
            "rotary_emb_base": 10000,
            "rotary_pct": 0.25,
            "use_parallel_residual": True,
            "vocab_size": 50304,
        },
        {"rotary": 16, "parallel": True, "shared_norm": False, "activation": "gelu", "tied": False},
    ),
    "meta-llama/Llama-3.2-1B": (
        {
            **LLAMA,
            "model_type": "llama",
            "architectures": ["LlamaForCausalLM"],
            "attention_bias": False,
            "head_dim": 64,
            "mlp_bias": False,
            "pretraining_tp": 1,
            "rope_scaling": {
                "factor": 32.0,
                "high_freq_factor": 4.0,
                "low_freq_factor": 1.0,
                "original_max_position_embeddings": 8192,
                "rope_type": "llama3",
            },
            "rope_theta": 500000.0,
            "tie_word_embeddings": True,
        },
        {
            "rotary_base": 500000.0,
            "rope_scaling": RopeScaling("llama3", 32.0, 1.0, 4.0, 8192),
            "kv_heads": 8,
            "tied": True,
        },
    ),
    "HuggingFaceTB/SmolLM2-135M": (
        {
            **LLAMA,
            "model_type": "llama",
            "is_llama_config": True,
            "rope_interleaved": False,
            "rope_scaling": None,
            "rope_theta": 100000,
            "transformers.js_config": {"kv_cache_dtype": {}},
        },
        {"rotary_base": 100000.0, "head_dim": 64, "rope_scaling": None},
    ),
    "mistralai/Mistral-7B-v0.1": (
        {**LLAMA, "model_type": "mistral", "rope_theta": 10000.0, "sliding_window": 4096},
        {"windows": (4096, 4096), "head_dim": 64},
    ),
    "Qwen/Qwen2.5-0.5B": (
        {
            **LLAMA,
            "model_type": "qwen2",
            "max_window_layers": 24,
            "rope_theta": 1000000.0,
            "sliding_window": 32768,
            "use_mrope": False,
            "use_sliding_window": False,
        },
        {"qkv_bias": True, "out_bias": False, "windows": (), "rotary_base": 1e6},
    ),
    "Qwen/Qwen3-0.6B": (
        {
            **LLAMA,
            "model_type": "qwen3",
            "attention_bias": False,
            "head_dim": 128,
            "max_window_layers": 28,
            "rope_scaling": None,
            "sliding_window": None,
            "use_sliding_window": False,
        },
        {"qk_norm": True, "head_dim": 128, "rotary": 128, "norm_offset": 0.0},
    ),
    "google/gemma-2-2b": (
        {
            **LLAMA,
            "model_type": "gemma2",
            "architectures": ["Gemma2ForCausalLM"],
            "attn_logit_softcapping": 50.0,
            "cache_implementation": "hybrid",
            "final_logit_softcapping": 30.0,
            "head_dim": 256,
            "hidden_act": "gelu_pytorch_tanh",
            "hidden_activation": "gelu_pytorch_tanh",
            "query_pre_attn_scalar": 144,
            "sliding_window": 4096,
        },
        {
            "scale": 1 / 12,
            "attention_cap": 50.0,
            "logit_cap": 30.0,
            "windows": (4096, 0),
            "post_norms": True,
            "embedding_scale": 2048**0.5,
            "tied": True,
        },
    ),
    "google/gemma-3-1b-it": (
        {
            **LLAMA,
            "model_type": "gemma3_text",
            "architectures": ["Gemma3ForCausalLM"],
            "num_hidden_layers": 7,
            "attn_logit_softcapping": None,
            "eos_token_id": [1, 106],
            "final_logit_softcapping": None,
            "head_dim": 256,
            "hidden_activation": "gelu_pytorch_tanh",
            "query_pre_attn_scalar": 256,
            "rope_local_base_freq": 10000,
            "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
            "rope_theta": 1000000,
            "sliding_window": 512,
            "sliding_window_pattern": 6,
        },
        {
            "windows": (512, 512, 512, 512, 512, 0, 512),
            "rotary_base": 1e6,
            "rotary_local_base": 1e4,
            "rope_scaling": RopeScaling("linear", 8.0),
            "scale": 1 / 16,
        },
    ),
}


@pytest.mark.parametrize("name", HUB)
def test_models_of_the_hub_are_known(name: str):
    said, expected = HUB[name]
    config = dataclasses.asdict(families.read_config(said, name)[1])
    expected = {
        key: dataclasses.asdict(value) if isinstance(value, RopeScaling) else value
        for key, value in expected.items()
    }
    assert {key: config[key] for key in expected} == expected


@pytest.mark.parametrize("name", VARIANTS)
def test_a_config_is_written_as_it_was_read(name: str):
    family, config = families.read_config(hugging_face.values(name), name)
    written = family.write(config)
    assert families.read_config(written, "written") == (family, config)


@pytest.mark.parametrize("name", VARIANTS)
def test_keys_left_away_have_the_defaults_of_transformers(name: str):
    import transformers

    values = hugging_face.values(name)
    whole = transformers.AutoConfig.for_model(**values).to_dict()
    assert families.read_config(whole, name) == families.read_config(values, name)


LINEAR = {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("llama", {"model_type": "mixtral"}, "model_type = 'mixtral': is not implemented; these"),
        ("llama", {"model_type": None}, "model_type = None"),
        (
            "llama",
            {"architectures": ["LlamaForSequenceClassification"]},
            "only LlamaForCausalLM is",
        ),
        ("llama", {"hidden_size": None}, "no 'hidden_size'"),
        ("llama", {"hidden_size": "24"}, "hidden_size = '24': must be a number"),
        ("llama", {"num_hidden_layers": 2.5}, "num_hidden_layers = 2.5: must be a whole number"),
        ("llama", {"num_key_value_heads": 3}, "heads must be a multiple of kv_heads"),
        ("llama", {"num_key_value_heads": 0}, "num_key_value_heads = 0"),
        ("llama", {"head_dim": 0}, "head_dim = 0"),
        ("llama", {"head_dim": 7}, "partial_rotary_factor = 1.0: rotates no even"),
        ("llama", {"hidden_act": "gelu_fast"}, "hidden_act = 'gelu_fast': is not one of"),
        ("llama", {"attention_bias": "yes"}, "attention_bias = 'yes': must be true or false"),
        ("llama", {"quantization_config": {"bits": 4}}, "quantization_config = .*only None is"),
        ("llama", {"auto_map": {"AutoModel": "x.Y"}}, "auto_map = .* is not implemented"),
        ("llama", {"num_local_experts": 8}, "num_local_experts = 8: is unknown here"),
        ("llama", {"attention_sinks": True}, "attention_sinks = True: is unknown here"),
        ("llama", {"rope_interleaved": True}, "rope_interleaved = True"),
        ("llama", {"rope_parameters": {"rope_type": "yarn", "factor": 2.0}}, "rope_type = 'yarn'"),
        ("llama", {"rope_parameters": {**LINEAR, "beta_fast": 32}}, "beta_fast = 32: is unknown"),
        ("llama", {"rope_parameters": {"rope_type": "linear"}}, "no 'factor'"),
        ("llama", {"rope_parameters": {**LINEAR, "partial_rotary_factor": 0.5}}, "= 0.5: rotates"),
        ("llama", {"rope_parameters": [1]}, r"rope_parameters = \[1\]: must be an object"),
        ("llama", {"rope_scaling": {"type": "linear", "factor": 2.0}}, "beside rope_parameters"),
        (
            "llama-old",
            {"rope_scaling": {"type": "dynamic", "factor": 2.0}},
            "rope_type = 'dynamic'",
        ),
        ("mistral", {"layer_types": ["full_attention"] * 3}, "layer_types = .* is unknown here"),
        ("mistral", {"sliding_window": 0}, "sliding_window = 0"),
        ("qwen2", {"use_mrope": True}, "use_mrope = True: is not implemented; only False is"),
        ("qwen2", {"layer_types": ["full_attention"]}, "for each layer"),
        ("qwen2", {"layer_types": ["chunked_attention"] * 3}, "layer_types = .*must be"),
        ("qwen2", {"max_window_layers": None}, "max_window_layers = None"),
        ("qwen2-layers", {"use_sliding_window": False}, "no 'sliding_window'"),
        ("gemma2", {"use_bidirectional_attention": True}, "use_bidirectional_attention = True"),
        ("gemma2", {"sliding_window_pattern": 3}, "sliding_window_pattern = 3: is unknown"),
        ("gemma2", {"sliding_window": None}, "no 'sliding_window'"),
        ("gemma3", {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping = 50.0"),
        ("gemma3", {"rope_parameters": {"rope_theta": 1e4}}, "rope_parameters.rope_theta"),
        ("gemma3", {"rope_parameters": {"sliding_attention": LINEAR}}, "rope_parameters = "),
        ("gemma3-old", {"_sliding_window_pattern": 3}, "_sliding_window_pattern = 3: is not what"),
        (
            "gpt2",
            {"scale_attn_by_inverse_layer_idx": True},
            "scale_attn_by_inverse_layer_idx = True",
        ),
        ("gpt2", {"add_cross_attention": True}, "add_cross_attention = True"),
        ("gpt2", {"n_head": 5}, "hidden size = 24: not a multiple of 5"),
        ("gptj", {"rotary_dim": None}, "no 'rotary_dim'"),
        ("gptj", {"rotary_dim": 5}, "rotary: even"),
        ("gptj", {"rotary_dim": 8}, "rotary: even"),
        ("gptj", {"rotary": False}, "rotary = False"),
        ("gpt_neox", {"rotary_pct": 0.5}, "rotary_pct = 0.5: rotates no even"),
        ("gpt_neox", {"rope_theta": 1e4}, "rope_theta = 10000.0: is unknown here"),
    ],
)
def test_what_is_not_implemented_is_refused_by_name(name: str, change: dict, message: str):
    with pytest.raises(FamilyError, match=f"here/config.json.*{message}"):
        families.read_config(hugging_face.values(name) | change, "here/config.json")


@pytest.mark.torch
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", VARIANTS)
def test_logits_are_those_of_transformers(name: str, seed: int, tmp_path: pathlib.Path):
    model = hugging_face.make(name, tmp_path, seed)
    loaded = load.load(str(tmp_path), toys.one_device())
    tokens = hugging_face.tokens(seed)
    expected = hugging_face.theirs(model, tokens)
    assert np.abs(expected).max() > 1  # so that the bound below means something
    assert np.abs(hugging_face.ours(loaded, tokens) - expected).max() < 2e-4
