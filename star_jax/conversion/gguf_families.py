"""The architectures of GGUF files: a table of each one's metadata and tensors.

A GGUF file has fewer fields than a config.json. Absent fields get the values that llama.cpp's
converter assumes and llama.cpp computes with: a Mistral is a "llama" there, its window and a Qwen's
are not kept, and a GPT-NeoX has the usual RoPE base unless the file has one. Only activations are
the families' own (exact GELU for GPT-NeoX).
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from star_jax.conversion.families import FAMILIES
from star_jax.conversion.family import Family
from star_jax.conversion.safetensors import LoadError

_OUTSIDE = {"embedding": "token_embd V E", "norm": "output_norm E", "head": "output V E"}
_FUSED = {
    "norm": "attn_norm E",
    "attention.q": "attn_qkv qHD E",
    "attention.k": "attn_qkv kKD E",
    "attention.v": "attn_qkv vKD E",
    "attention.out": "attn_output E HD",
    "mlp.up": "ffn_up F E",
    "mlp.down": "ffn_down E F",
}
_SEPARATE = {
    **_FUSED,
    "attention.q": "attn_q HD E",
    "attention.k": "attn_k KD E",
    "attention.v": "attn_v KD E",
}
_SECOND = {"mlp_norm": "ffn_norm E"}
_GATED = {**_SEPARATE, **_SECOND, "mlp.gate": "ffn_gate F E"}
_QK_NORM = {"attention.q_norm": "attn_q_norm D", "attention.k_norm": "attn_k_norm D"}
_POST = {"post_norm": "post_attention_norm E", "mlp_post_norm": "post_ffw_norm E"}

_SIZES = {
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "block_count": "num_hidden_layers",
    "attention.head_count": "num_attention_heads",
    "feed_forward_length": "intermediate_size",
}
_GPT2_SIZES = dict(
    zip(_SIZES, ["n_positions", "n_embd", "n_layer", "n_head", "n_inner"], strict=True)
)
_RMS = "attention.layer_norm_rms_epsilon"
_LAYER = "attention.layer_norm_epsilon"

# Name of a token in GGUF keys -> its key in config.json.
_TOKENS = {"bos": "bos_token_id", "eos": "eos_token_id", "padding": "pad_token_id"}
_BASE = 10_000.0  # RoPE base of files that have none


@dataclasses.dataclass(frozen=True)
class _ModelMetadata:
    """The metadata of a model while it is read.

    Attributes:
        left: values that have not been read yet, by key without the architecture's name.
        biases: names of modules of the first block that have a bias.
        width, heads, layers: sizes of the model.
        head_dim: size of a head of keys, which is not in `left` any more.
    """

    left: dict[str, Any]
    biases: frozenset[str]
    width: int
    heads: int
    layers: int
    head_dim: int


Rest = Callable[
    [_ModelMetadata], dict[str, Any]
]  # takes values from `left`, returns fields of config.json


@dataclasses.dataclass(frozen=True)
class Architecture:
    """An architecture of GGUF files.

    Attributes:
        family: name of its `Family`.
        keys: key of the metadata -> key of config.json.
        rest: function that reads the other metadata.
        inside: our weight -> line for `stored_weight`, for weights of a block.
        outside: our weight -> line for `stored_weight`, for weights outside of the blocks.
        interleaved: whether dimensions of queries and keys that are rotated together are neighbours
            in the file; the family has them half a head apart.
    """

    family: str
    keys: Mapping[str, str]
    rest: Rest
    inside: Mapping[str, str]
    outside: Mapping[str, str] = dataclasses.field(default_factory=lambda: _OUTSIDE)
    interleaved: bool = False

    def layout(self, family: Family) -> Family:
        """Returns `family` with the names and axes that its tensors have in a GGUF file."""
        return dataclasses.replace(
            family, outside=self.outside, blocks="blk", inside=self.inside, buffers=()
        )


def _rope(model: _ModelMetadata) -> dict[str, Any]:
    """Returns config.json's fields of one RoPE; a factor without a type is a linear scaling."""
    base = model.left.pop("rope.freq_base", _BASE)
    kind = model.left.get("rope.scaling.type", "linear")
    if kind not in ("linear", "none"):
        return {"rope_theta": base}  # `_refuse` refuses the fields left
    model.left.pop("rope.scaling.type", None)
    oldest = model.left.pop("rope.scale_linear", 1.0)
    factor = model.left.pop("rope.scaling.factor", oldest)
    if kind == "none" or factor in (0, 1):
        return {"rope_theta": base, "rope_type": "default"}
    return {"rope_theta": base, "rope_type": "linear", "factor": factor}


def _llama(*biases: str) -> Rest:
    """Returns the reader of fields that Llama and all later architectures have.

    Args:
        biases: keys of config.json for whether attention, and the MLP, have biases.
    """

    def rest(model: _ModelMetadata) -> dict[str, Any]:
        present = ("attn_q" in model.biases, "ffn_up" in model.biases)
        return {
            "head_dim": model.head_dim,
            "num_key_value_heads": model.left.pop("attention.head_count_kv", model.heads),
            "rope_parameters": _rope(model),
            **dict(zip(biases, present, strict=False)),
        }

    return rest


def _gemma(layers: int, window: int, pattern: int, local_base: bool) -> Rest:
    """Returns the reader of fields of Gemma 2 and 3.

    Args:
        layers: number of layers of the 27B model, the only one whose queries are scaled by
            width / heads instead of head_dim.
        window: window of files that have none; 0 for no window in any layer.
        pattern: distance between layers without a window, if the file has none.
        local_base: whether layers with a window have a RoPE of their own.
    """

    def rest(model: _ModelMetadata) -> dict[str, Any]:
        fields = _llama("attention_bias")(model)
        if local_base:
            local = model.left.pop("rope.freq_base_swa", _BASE)
            fields["rope_parameters"] = {
                "full_attention": fields["rope_parameters"],
                "sliding_attention": {"rope_theta": local, "rope_type": "default"},
            }
        size = model.left.pop("attention.sliding_window", window)
        every = model.left.pop("attention.sliding_window_pattern", pattern)
        if not isinstance(every, list):
            every = [every == 0 or n % every < every - 1 for n in range(model.layers)]
        near = [bool(size and local) for local in every]
        shared = model.width // model.heads
        return {
            **fields,
            "query_pre_attn_scalar": shared if model.layers == layers else model.head_dim,
            "sliding_window": size or None,
            "layer_types": ["sliding_attention" if it else "full_attention" for it in near],
        }

    return rest


def _gpt_neox(model: _ModelMetadata) -> dict[str, Any]:
    rotated = model.left.pop("rope.dimension_count", model.head_dim)
    share = rotated / model.head_dim
    if int(share * model.head_dim) < rotated:  # ModelConfig's rotary would be rounded down
        share = math.nextafter(share, 1.0)
    return {
        "attention_bias": "attn_qkv" in model.biases,
        "rope_parameters": {**_rope(model), "partial_rotary_factor": share},
    }


def _gptj(model: _ModelMetadata) -> dict[str, Any]:
    return {"rotary_dim": model.left.pop("rope.dimension_count", model.head_dim)}


_LLAMA_KEYS = {**_SIZES, _RMS: "rms_norm_eps"}
_CAP = {"final_logit_softcapping": "final_logit_softcapping"}
_CAPS = {**_CAP, "attn_logit_softcapping": "attn_logit_softcapping"}

# Value of "general.architecture" -> architecture.
ARCHITECTURES = {
    "gpt2": Architecture(
        family="gpt2",
        keys={**_GPT2_SIZES, _LAYER: "layer_norm_epsilon"},
        rest=lambda _: {},
        inside={**_FUSED, **_SECOND},
        outside={**_OUTSIDE, "positions": "position_embd C E"},
    ),
    # llama.cpp defines these names for GPT-J, but neither converts nor runs such a model.
    "gptj": Architecture(
        family="gptj",
        keys={**_GPT2_SIZES, _LAYER: "layer_norm_epsilon"},
        rest=_gptj,
        inside=_SEPARATE,
    ),
    "gptneox": Architecture(
        family="gpt_neox",
        keys={**_SIZES, _LAYER: "layer_norm_eps", "use_parallel_residual": "use_parallel_residual"},
        rest=_gpt_neox,
        inside={**_FUSED, **_SECOND},
    ),
    "llama": Architecture(
        family="llama",
        keys=_LLAMA_KEYS,
        rest=_llama("attention_bias", "mlp_bias"),
        inside=_GATED,
        interleaved=True,
    ),
    "qwen2": Architecture(family="qwen2", keys=_LLAMA_KEYS, rest=_llama(), inside=_GATED),
    "qwen3": Architecture(
        family="qwen3",
        keys=_LLAMA_KEYS,
        rest=_llama("attention_bias"),
        inside={**_GATED, **_QK_NORM},
    ),
    "gemma2": Architecture(
        family="gemma2",
        keys={**_LLAMA_KEYS, **_CAPS},
        rest=_gemma(layers=46, window=4096, pattern=2, local_base=False),
        inside={**_GATED, **_POST},
    ),
    "gemma3": Architecture(
        family="gemma3_text",
        keys={**_LLAMA_KEYS, **_CAP},
        rest=_gemma(layers=62, window=0, pattern=6, local_base=True),
        inside={**_GATED, **_POST, **_QK_NORM},
    ),
}


def read_config(
    metadata: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], where: str
) -> dict[str, Any]:
    """Returns the content of an equivalent config.json.

    Args:
        metadata: metadata of the file.
        shapes: shapes of its tensors by name.
        where: name of the file, for messages.

    Raises:
        LoadError: the architecture is not implemented, sizes are missing, or metadata of the
            architecture is not used here and may change the computation.
    """
    name = metadata.get("general.architecture")
    if name not in ARCHITECTURES:
        raise LoadError(
            f"{where}: general.architecture = {name!r} is not implemented; "
            f"these are: {', '.join(ARCHITECTURES)}"
        )
    architecture, start = ARCHITECTURES[name], f"{name}."
    own = {
        key.removeprefix(start): _shortest(value)
        for key, value in metadata.items()
        if key.startswith(start)
    }
    model = _parse_sizes(own, architecture, shapes, f"{where}: {start}")
    rows = shapes.get("token_embd.weight", (0,))[0]
    config: dict[str, Any] = {
        "architectures": [FAMILIES[architecture.family].architecture],
        "model_type": architecture.family,
        "tie_word_embeddings": "output.weight" not in shapes,
        "vocab_size": own.pop("vocab_size", rows),
    }
    config |= {to: own.pop(key) for key, to in architecture.keys.items() if key in own}
    config |= architecture.rest(model)
    _refuse(model, f"{where}: {start}")
    for token, key in _TOKENS.items():
        if (value := metadata.get(f"tokenizer.ggml.{token}_token_id")) is not None:
            config[key] = value
    return config


def _parse_sizes(
    own: dict[str, Any],
    architecture: Architecture,
    shapes: Mapping[str, tuple[int, ...]],
    where: str,
) -> _ModelMetadata:
    needed = [key for key in _SIZES if key != "feed_forward_length"]
    if wrong := [key for key in needed if type(own.get(key)) is not int or own[key] < 1]:
        raise LoadError(f"{where}{wrong[0]} is no size of a model; download the file again")
    epsilon = next(key for key in architecture.keys if key in (_RMS, _LAYER))
    if epsilon not in own:
        raise LoadError(f"{where}{epsilon} is missing; download the file again")
    width, heads = own["embedding_length"], own["attention.head_count"]
    size = own.pop("attention.key_length", width // heads)
    if type(size) is not int or size < 1:
        raise LoadError(f"{where}attention.key_length = {size!r}: must be a whole number above 0")
    first, end = "blk.0.", ".bias"
    biases = {
        key[len(first) : -len(end)] for key in shapes if key.startswith(first) and key.endswith(end)
    }
    return _ModelMetadata(
        left=own,
        biases=frozenset(biases),
        width=width,
        heads=heads,
        layers=own["block_count"],
        head_dim=size,
    )


def _refuse(model: _ModelMetadata, where: str) -> None:
    """Raises LoadError for unread metadata of the architecture that may change the computation."""
    neutral = {
        "attention.causal": True,
        "attention.head_count_kv": model.heads,
        "attention.value_length": model.head_dim,
        "expert_count": 0,
        "expert_used_count": 0,
        "rope.dimension_count": model.head_dim,
        "rope.scaling.type": "none",
    }
    for key, value in model.left.items():
        if key not in neutral or value != neutral[key]:
            raise LoadError(
                f"{where}{key} = {value!r} may change the computation and is not implemented; take "
                "the model's safetensors"
            )


def _shortest(value: Any) -> Any:
    """Returns the shortest float of a float32: 1e-05 instead of 9.999999747378752e-06."""
    return float(str(np.float32(value))) if isinstance(value, float) else value
