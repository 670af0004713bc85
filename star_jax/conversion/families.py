"""The model families of Hugging Face: a table of each family's config fields and tensors.

The tables are checked against the sources of transformers 5: a config either gives the computation
of transformers here too, or is refused.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from star_jax.conversion import config_fields, rope_fields
from star_jax.conversion.config_fields import FamilyError
from star_jax.conversion.family import Family
from star_jax.models.config import ModelConfig

_ONE_AFTER_THE_OTHER = {"parallel": False, "shared_norm": False}
_RMS = {
    **_ONE_AFTER_THE_OTHER,
    "norm": "rms",
    "head_bias": False,
    "gated": True,
    "rotary_pairs": "halves",
}
_GEMMA = {**_RMS, "mlp_bias": False, "post_norms": True, "norm_offset": 1.0}
_GPT2_SIZES = config_fields.sizes(
    vocab_size="vocab", n_positions="context", n_embd="width", n_layer="layers", n_head="heads"
)
_SIZES = config_fields.sizes(
    vocab_size="vocab",
    max_position_embeddings="context",
    hidden_size="width",
    num_hidden_layers="layers",
    num_attention_heads="heads",
    intermediate_size="hidden",
)
_LLAMA_REST = (
    config_fields.activation("hidden_act", "silu"),
    config_fields.epsilon("rms_norm_eps", 1e-6),
    config_fields.flags("tie_word_embeddings", False, "tied"),
)
_GEMMA_FIRST = (
    _SIZES,
    config_fields.heads(key_heads=4, size=256),
    config_fields.flags("attention_bias", False, "qkv_bias", "out_bias"),
    config_fields.query_scale("query_pre_attn_scalar", 256),
    config_fields.embedding_scale(),
    config_fields.activation("hidden_activation", "gelu_pytorch_tanh"),
    config_fields.epsilon("rms_norm_eps", 1e-6),
    config_fields.flags("tie_word_embeddings", True, "tied"),
)
_QK_NORM = {"attention.q_norm": "self_attn.q_norm D", "attention.k_norm": "self_attn.k_norm D"}
_SUMMARY = frozenset(
    """
    n_ctx n_special predict_special_tokens reorder_and_upcast_attn summary_activation
    summary_first_dropout summary_proj_to_labels summary_type summary_use_proj
    """.split()
)

_GPTJ = Family(
    name="gptj",
    architecture="GPTJForCausalLM",
    fixed={},
    groups=(
        _GPT2_SIZES,
        config_fields.inner("n_inner"),
        config_fields.heads(head_dim=False),
        rope_fields.rotary_dim("rotary_dim"),
        config_fields.activation("activation_function", "gelu_new"),
        config_fields.epsilon("layer_norm_epsilon", 1e-5),
        config_fields.flags("tie_word_embeddings", False, "tied"),
    ),
    outside={
        "embedding": "transformer.wte V E",
        "norm": "transformer.ln_f E",
        "head": "lm_head V E",
    },
    blocks="transformer.h",
    inside={
        "norm": "ln_1 E",
        "attention.q": "attn.q_proj HD E",
        "attention.k": "attn.k_proj KD E",
        "attention.v": "attn.v_proj KD E",
        "attention.out": "attn.out_proj E HD",
        "mlp.up": "mlp.fc_in F E",
        "mlp.down": "mlp.fc_out E F",
    },
    neutral={"rotary": (True,), "scale_attn_weights": (True,)},
    ignored=_SUMMARY,
    buffers=(".attn.bias", ".attn.masked_bias"),
)
_GPT2 = Family(
    name="gpt2",
    architecture="GPT2LMHeadModel",
    fixed={
        **_ONE_AFTER_THE_OTHER,
        **dict.fromkeys(("learned_positions", "qkv_bias", "out_bias"), True),
        "head_bias": False,
        "rotary": 0,
    },
    groups=(
        _GPT2_SIZES,
        config_fields.inner("n_inner"),
        config_fields.heads(head_dim=False),
        config_fields.unscaled("scale_attn_weights"),
        config_fields.activation("activation_function", "gelu_new"),
        config_fields.epsilon("layer_norm_epsilon", 1e-5),
        config_fields.flags("tie_word_embeddings", True, "tied"),
    ),
    outside={
        "embedding": "transformer.wte V E",
        "positions": "transformer.wpe C E",
        "norm": "transformer.ln_f E",
        "head": "lm_head V E",
    },
    blocks="transformer.h",
    inside={
        "norm": "ln_1 E",
        "mlp_norm": "ln_2 E",
        "attention.q": "attn.c_attn E qHD",
        "attention.k": "attn.c_attn E kKD",
        "attention.v": "attn.c_attn E vKD",
        "attention.out": "attn.c_proj HD E",
        "mlp.up": "mlp.c_fc E F",
        "mlp.down": "mlp.c_proj F E",
    },
    neutral={"scale_attn_by_inverse_layer_idx": (False,)},
    ignored=_SUMMARY,
    buffers=(".attn.bias", ".attn.masked_bias"),
)
_GPT_NEOX = Family(
    name="gpt_neox",
    architecture="GPTNeoXForCausalLM",
    fixed={"shared_norm": False, "head_bias": False, "rotary_pairs": "halves"},
    groups=(
        _SIZES,
        config_fields.heads(head_dim=False),
        config_fields.flags("use_parallel_residual", True, "parallel"),
        config_fields.flags("attention_bias", True, "qkv_bias", "out_bias"),
        rope_fields.rope("rotary_emb_base", "rotary_pct", share=0.25),
        config_fields.activation("hidden_act", "gelu"),
        config_fields.epsilon("layer_norm_eps", 1e-5),
        config_fields.flags("tie_word_embeddings", False, "tied"),
    ),
    outside={
        "embedding": "gpt_neox.embed_in V E",
        "norm": "gpt_neox.final_layer_norm E",
        "head": "embed_out V E",
    },
    blocks="gpt_neox.layers",
    inside={
        "norm": "input_layernorm E",
        "mlp_norm": "post_attention_layernorm E",
        "attention.q": "attention.query_key_value HqD E",
        "attention.k": "attention.query_key_value KkD E",
        "attention.v": "attention.query_key_value KvD E",
        "attention.out": "attention.dense E HD",
        "mlp.up": "mlp.dense_h_to_4h F E",
        "mlp.down": "mlp.dense_4h_to_h E F",
    },
    buffers=(".attention.bias", ".attention.masked_bias", ".rotary_emb.inv_freq"),
)
_LLAMA = Family(
    name="llama",
    architecture="LlamaForCausalLM",
    fixed=_RMS,
    groups=(
        _SIZES,
        config_fields.heads(),
        rope_fields.rope(),
        config_fields.flags("attention_bias", False, "qkv_bias", "out_bias"),
        config_fields.flags("mlp_bias", False, "mlp_bias"),
        *_LLAMA_REST,
    ),
    outside={
        "embedding": "model.embed_tokens V E",
        "norm": "model.norm E",
        "head": "lm_head V E",
    },
    blocks="model.layers",
    inside={
        "norm": "input_layernorm E",
        "mlp_norm": "post_attention_layernorm E",
        "attention.q": "self_attn.q_proj HD E",
        "attention.k": "self_attn.k_proj KD E",
        "attention.v": "self_attn.v_proj KD E",
        "attention.out": "self_attn.o_proj E HD",
        "mlp.gate": "mlp.gate_proj F E",
        "mlp.up": "mlp.up_proj F E",
        "mlp.down": "mlp.down_proj E F",
    },
    neutral={"rope_interleaved": (False,)},
    ignored=frozenset({"is_llama_config", "max_sequence_length", "pretraining_tp"}),
    buffers=(".rotary_emb.inv_freq",),
)
_MISTRAL = dataclasses.replace(
    _LLAMA,
    name="mistral",
    architecture="MistralForCausalLM",
    fixed={**_RMS, "mlp_bias": False},
    groups=(
        _SIZES,
        config_fields.heads(key_heads=8),
        rope_fields.rope(),
        rope_fields.one_window(),
        *_LLAMA_REST,
    ),
)
_QWEN2 = dataclasses.replace(
    _LLAMA,
    name="qwen2",
    architecture="Qwen2ForCausalLM",
    fixed={**_RMS, "mlp_bias": False, "qkv_bias": True},
    groups=(
        _SIZES,
        config_fields.heads(key_heads=32),
        rope_fields.rope(),
        rope_fields.upper_windows(),
        *_LLAMA_REST,
    ),
    neutral={"use_mrope": (False,)},
)
_QWEN3 = dataclasses.replace(
    _QWEN2,
    name="qwen3",
    architecture="Qwen3ForCausalLM",
    fixed={**_RMS, "mlp_bias": False, "qk_norm": True},
    groups=(
        _SIZES,
        config_fields.heads(key_heads=32, size=128),
        rope_fields.rope(),
        config_fields.flags("attention_bias", False, "qkv_bias", "out_bias"),
        rope_fields.upper_windows(),
        *_LLAMA_REST,
    ),
    inside={**_LLAMA.inside, **_QK_NORM},
)
_GEMMA2 = dataclasses.replace(
    _LLAMA,
    name="gemma2",
    architecture="Gemma2ForCausalLM",
    fixed=_GEMMA,
    groups=(
        *_GEMMA_FIRST,
        rope_fields.rope(),
        config_fields.cap("attn_logit_softcapping", "attention_cap", 50.0),
        config_fields.cap("final_logit_softcapping", "logit_cap", 30.0),
        rope_fields.patterned_windows(2),
    ),
    inside={
        **_LLAMA.inside,
        "post_norm": "post_attention_layernorm E",
        "mlp_norm": "pre_feedforward_layernorm E",
        "mlp_post_norm": "post_feedforward_layernorm E",
    },
    neutral={"use_bidirectional_attention": (False, None)},
    ignored=frozenset({"hidden_act"}),  # transformers uses hidden_activation
)
_GEMMA3 = dataclasses.replace(
    _GEMMA2,
    name="gemma3_text",
    architecture="Gemma3ForCausalLM",
    fixed={**_GEMMA, "qk_norm": True},
    groups=(
        *_GEMMA_FIRST,
        rope_fields.layered_rope(),
        config_fields.cap("final_logit_softcapping", "logit_cap", None),
        rope_fields.patterned_windows(6, "sliding_window_pattern"),
    ),
    inside={**_GEMMA2.inside, **_QK_NORM},
    neutral={**_GEMMA2.neutral, "attn_logit_softcapping": (None,)},
)

_ALL = (_GPTJ, _GPT2, _GPT_NEOX, _LLAMA, _MISTRAL, _QWEN2, _QWEN3, _GEMMA2, _GEMMA3)
FAMILIES = {family.name: family for family in _ALL}


def read_config(values: Mapping[str, Any], where: str) -> tuple[Family, ModelConfig]:
    """Returns the family and the configuration of a model from its config.json.

    Args:
        values: content of config.json.
        where: name of the file, for messages.

    Raises:
        FamilyError: the family is not implemented, or `Family.read` refuses a key.
    """
    name = values.get("model_type")
    if name not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise FamilyError(f"{where}: model_type = {name!r}: is not implemented; these are: {known}")
    return FAMILIES[name], FAMILIES[name].read(values, where)
