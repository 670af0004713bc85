"""Small models of every family as transformers would have them, and what transformers says of them.

`VARIANTS` switches each feature of each family on at least once. What needs torch is a function.
"""

import functools
import json
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import toys
from star_jax.conversion import export, families, load
from star_jax.models.attention import attend_segments
from star_jax.models.config import ModelConfig

VOCAB = 43
LENGTH = 24

_GPT2 = {"vocab_size": VOCAB, "n_positions": 32, "n_embd": 24, "n_layer": 3, "n_head": 4}
_SIZES = {
    "vocab_size": VOCAB,
    "max_position_embeddings": 64,
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 20,
}
_GROUPED = {**_SIZES, "num_key_value_heads": 2}
_LLAMA3 = {
    "rope_type": "llama3",
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 3.0,
    "original_max_position_embeddings": 16,
}
_SLIDING = ["sliding_attention", "full_attention", "sliding_attention"]

# name -> keys of config.json
VARIANTS: dict[str, dict[str, Any]] = {
    "gptj": {"model_type": "gptj", **_GPT2, "rotary_dim": 4, "n_inner": 20},
    "gptj-tied": {
        "model_type": "gptj",
        **_GPT2,
        "rotary_dim": 6,
        "activation_function": "relu",
        "tie_word_embeddings": True,
    },
    "gpt2": {"model_type": "gpt2", **_GPT2},
    "gpt2-untied": {
        "model_type": "gpt2",
        **_GPT2,
        "n_inner": 20,
        "activation_function": "gelu",
        "scale_attn_weights": False,
        "tie_word_embeddings": False,
    },
    "gpt_neox": {
        "model_type": "gpt_neox",
        **_SIZES,
        "rotary_pct": 0.67,
        "rotary_emb_base": 100,
        "layer_norm_eps": 1e-3,
    },
    "gpt_neox-sequential": {
        "model_type": "gpt_neox",
        **_SIZES,
        "use_parallel_residual": False,
        "attention_bias": False,
        "hidden_act": "gelu_new",
        "tie_word_embeddings": True,
        "rope_parameters": {**_LLAMA3, "rope_theta": 100.0, "partial_rotary_factor": 1.0},
    },
    "llama": {
        "model_type": "llama",
        **_GROUPED,
        "head_dim": 8,
        "attention_bias": True,
        "mlp_bias": True,
        "rms_norm_eps": 1e-3,
        "rope_parameters": {**_LLAMA3, "rope_theta": 100.0},
    },
    "llama-old": {
        "model_type": "llama",
        **_SIZES,
        "tie_word_embeddings": True,
        "rope_theta": 50.0,
        "rope_scaling": {"type": "linear", "factor": 2.5},
        "torch_dtype": "float32",
    },
    "mistral": {"model_type": "mistral", **_GROUPED, "sliding_window": 5, "head_dim": 8},
    "mistral-full": {
        "model_type": "mistral",
        **_SIZES,
        "num_key_value_heads": 1,
        "sliding_window": None,
        "tie_word_embeddings": True,
    },
    "qwen2": {
        "model_type": "qwen2",
        **_GROUPED,
        "use_sliding_window": True,
        "sliding_window": 4,
        "max_window_layers": 1,
        "tie_word_embeddings": True,
    },
    "qwen2-layers": {
        "model_type": "qwen2",
        **_GROUPED,
        "use_sliding_window": True,
        "sliding_window": 4,
        "layer_types": _SLIDING,
        "rope_theta": 300.0,
    },
    "qwen3": {
        "model_type": "qwen3",
        **_GROUPED,
        "head_dim": 8,
        "attention_bias": True,
        "use_sliding_window": True,
        "sliding_window": 6,
        "layer_types": _SLIDING,
    },
    "qwen3-tied": {
        "model_type": "qwen3",
        **_GROUPED,
        "head_dim": 6,
        "tie_word_embeddings": True,
    },
    "gemma2": {
        "model_type": "gemma2",
        **_GROUPED,
        "head_dim": 8,
        "query_pre_attn_scalar": 7,
        "rms_norm_eps": 1e-2,
        "attn_logit_softcapping": 2.0,
        "final_logit_softcapping": 3.0,
        "sliding_window": 4,
        "pad_token_id": None,
    },
    "gemma2-untied": {
        "model_type": "gemma2",
        **_GROUPED,
        "head_dim": 8,
        "attention_bias": True,
        "attn_logit_softcapping": None,
        "final_logit_softcapping": None,
        "layer_types": ["full_attention"] * 3,
        "tie_word_embeddings": False,
        "hidden_activation": "silu",
        "pad_token_id": None,
    },
    "gemma3": {
        "model_type": "gemma3_text",
        **_GROUPED,
        "head_dim": 8,
        "query_pre_attn_scalar": 7,
        "rms_norm_eps": 1e-2,
        "final_logit_softcapping": 3.0,
        "sliding_window": 4,
        "layer_types": _SLIDING,
        "attention_bias": True,
        "pad_token_id": None,
        "rope_parameters": {
            "full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 300.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 20.0},
        },
    },
    "gemma3-old": {
        "model_type": "gemma3_text",
        **_GROUPED,
        "head_dim": 8,
        "sliding_window": 5,
        "sliding_window_pattern": 2,
        "rope_theta": 500.0,
        "rope_local_base_freq": 30.0,
        "rope_scaling": {"rope_type": "linear", "factor": 8.0},
        "pad_token_id": None,
    },
}


def values(name: str) -> dict[str, Any]:
    """config.json of a variant, with tokens that its vocabulary has."""
    return {"bos_token_id": 1, "eos_token_id": 2, **VARIANTS[name]}


def config(name: str) -> ModelConfig:
    """The shape of a variant."""
    return families.read_config(values(name), name)[1]


def make(name: str, folder: pathlib.Path, seed: int = 0, **saving: Any) -> Any:
    """A random model that transformers has saved into `folder`; needs torch.

    Every weight matters: no bias is 0, no scale 1. The folder has the config.json as it stands in
    VARIANTS, old style included.
    """
    torch, transformers = torch_and_transformers()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(values(name)))
    settings = transformers.AutoConfig.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_config(settings, attn_implementation="eager")
    model.eval()
    draws = np.random.default_rng(seed)
    with torch.no_grad():
        for key, weight in model.named_parameters():
            x = draws.normal(size=tuple(weight.shape))
            if weight.ndim == 1:
                x = 0.3 * x + (weight[0].item() if key.endswith("weight") else 0)
            else:
                x *= 1.5 / np.sqrt(weight.shape[-1])
            weight.copy_(torch.tensor(x))
    model.save_pretrained(folder, **saving)
    (folder / "config.json").write_text(json.dumps(values(name)))
    return model


def tokens(seed: int = 0) -> np.ndarray:
    """Two rows of tokens."""
    return np.random.default_rng(seed).integers(0, VOCAB, (2, LENGTH))


def theirs(model: Any, tokens_BxT: np.ndarray) -> np.ndarray:
    """What transformers computes, [B, T, VOCAB]."""
    torch, _ = torch_and_transformers()
    with torch.no_grad():
        return model(torch.tensor(tokens_BxT)).logits.float().numpy()


def ours(loaded: load.Loaded, tokens_BxT: np.ndarray) -> np.ndarray:
    """What the decoder computes in one pass, [B, T, V] with padding."""
    return np.asarray(_forward(loaded.config)(loaded.params, tokens_BxT))


@functools.cache
def _forward(config_: ModelConfig) -> Any:
    def run(params: Any, tokens_BxT: jax.Array) -> jax.Array:
        decoder = nnx.merge(toys.graph(config_), params)
        positions = jnp.broadcast_to(jnp.arange(tokens_BxT.shape[1]), tokens_BxT.shape)
        attend = attend_segments(jnp.ones(tokens_BxT.shape, jnp.int32))
        return decoder.logits(decoder.hidden(tokens_BxT, positions, attend)[0])

    return jax.jit(run)


def torch_and_transformers() -> tuple[Any, Any]:
    """Both, quiet; imported where they are used, for they take seconds."""
    import torch
    import transformers

    torch.set_num_threads(1)  # several, beside another busy process, wait for each other
    transformers.utils.logging.disable_progress_bar()
    return torch, transformers


def write(name: str, folder: pathlib.Path, **saving: Any) -> load.Loaded:
    """A random model of a variant in a folder as transformers would have it, without torch."""
    family, shape = families.read_config(values(name), name)
    params = toys.params(shape)
    export.export(params, shape, family, values(name), None, folder, **saving)
    return load.Loaded(shape, family, params, values(name), folder)


def same(mine: Any, other: Any) -> bool:
    """Whether two trees of weights hold the same bytes in the same types."""
    pairs = zip(jax.tree.leaves(mine), jax.tree.leaves(other), strict=True)
    return all(x.dtype == y.dtype and bool((x == y).all()) for x, y in pairs)
