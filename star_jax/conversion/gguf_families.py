"""The architectures of GGUF files: for each what its metadata says, and where its weights lie.

A file says less than a config.json. What it leaves out is what llama.cpp's converter takes for
granted, and what llama.cpp computes: a Mistral is a "llama" there, and no window is kept of it, nor
of a Qwen; a GPT-NeoX rotates with the usual base unless it names one. Only the activations are the
families' own (for GPT-NeoX the exact GELU).
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

# Tokens that config.json names too.
_TOKENS = {"bos": "bos_token_id", "eos": "eos_token_id", "padding": "pad_token_id"}
_BASE = 10_000.0  # of the rotary embedding, where a file says none


@dataclasses.dataclass(frozen=True)
class Said:
    """What the metadata says of an architecture, while it is read.

    Attributes:
        left: what nobody has looked at yet, without the architecture's name.
        biases: modules of the first block that have one.
        width, heads, layers: sizes.
        head_dim: of a head of keys; taken from `left`.
    """

    left: dict[str, Any]
    biases: frozenset[str]
    width: int
    heads: int
    layers: int
    head_dim: int


Rest = Callable[[Said], dict[str, Any]]  # takes what it knows from `left`; more of config.json


@dataclasses.dataclass(frozen=True)
class Architecture:
    """How one of them is written.

    Attributes:
        family: the `Family` that it is of.
        keys: of the metadata -> of config.json.
        rest: what else it says.
        inside: modules of a block (see `stored`).
        outside: modules outside of the blocks.
        interleaved: dimensions of queries and keys that are rotated together are neighbours, though
            the family has them half a head apart.
    """

    family: str
    keys: Mapping[str, str]
    rest: Rest
    inside: Mapping[str, str]
    outside: Mapping[str, str] = dataclasses.field(default_factory=lambda: _OUTSIDE)
    interleaved: bool = False

    def layout(self, family: Family) -> Family:
        """The family as its weights lie in a GGUF file."""
        return dataclasses.replace(
            family, outside=self.outside, blocks="blk", inside=self.inside, buffers=()
        )


def _rope(said: Said) -> dict[str, Any]:
    """One rotary embedding, as config.json has it; a factor is linear unless it says otherwise."""
    base = said.left.pop("rope.freq_base", _BASE)
    kind = said.left.get("rope.scaling.type", "linear")
    if kind not in ("linear", "none"):
        return {"rope_theta": base}  # what is left is refused
    said.left.pop("rope.scaling.type", None)
    oldest = said.left.pop("rope.scale_linear", 1.0)
    factor = said.left.pop("rope.scaling.factor", oldest)
    if kind == "none" or factor in (0, 1):
        return {"rope_theta": base, "rope_type": "default"}
    return {"rope_theta": base, "rope_type": "linear", "factor": factor}


def _llama(*biases: str) -> Rest:
    """What all after Llama share.

    Args:
        biases: keys of config.json that say whether there are any, of attention and of the MLP.
    """

    def rest(said: Said) -> dict[str, Any]:
        there = ("attn_q" in said.biases, "ffn_up" in said.biases)
        return {
            "head_dim": said.head_dim,
            "num_key_value_heads": said.left.pop("attention.head_count_kv", said.heads),
            "rope_parameters": _rope(said),
            **dict(zip(biases, there, strict=False)),
        }

    return rest


def _gemma(layers: int, window: int, pattern: int, local_base: bool) -> Rest:
    """Gemma 2 and 3.

    Args:
        layers: of the 27B model, the only one whose queries are not scaled by the head's size.
        window: where the file says none; 0: no layer has one.
        pattern: every so manieth layer has no window.
        local_base: whether layers with a window have a rotary embedding of their own.
    """

    def rest(said: Said) -> dict[str, Any]:
        found = _llama("attention_bias")(said)
        if local_base:
            local = said.left.pop("rope.freq_base_swa", _BASE)
            found["rope_parameters"] = {
                "full_attention": found["rope_parameters"],
                "sliding_attention": {"rope_theta": local, "rope_type": "default"},
            }
        size = said.left.pop("attention.sliding_window", window)
        every = said.left.pop("attention.sliding_window_pattern", pattern)
        if not isinstance(every, list):
            every = [every == 0 or n % every < every - 1 for n in range(said.layers)]
        near = [bool(size and local) for local in every]
        shared = said.width // said.heads
        return {
            **found,
            "query_pre_attn_scalar": shared if said.layers == layers else said.head_dim,
            "sliding_window": size or None,
            "layer_types": ["sliding_attention" if it else "full_attention" for it in near],
        }

    return rest


def _gpt_neox(said: Said) -> dict[str, Any]:
    rotated = said.left.pop("rope.dimension_count", said.head_dim)
    share = rotated / said.head_dim
    if int(share * said.head_dim) < rotated:  # it was rounded down
        share = math.nextafter(share, 1.0)
    return {
        "attention_bias": "attn_qkv" in said.biases,
        "rope_parameters": {**_rope(said), "partial_rotary_factor": share},
    }


def _gptj(said: Said) -> dict[str, Any]:
    return {"rotary_dim": said.left.pop("rope.dimension_count", said.head_dim)}


_LLAMA_KEYS = {**_SIZES, _RMS: "rms_norm_eps"}
_CAP = {"final_logit_softcapping": "final_logit_softcapping"}
_CAPS = {**_CAP, "attn_logit_softcapping": "attn_logit_softcapping"}

# general.architecture -> how it is written.
ARCHITECTURES = {
    "gpt2": Architecture(
        "gpt2",
        {**_GPT2_SIZES, _LAYER: "layer_norm_epsilon"},
        lambda _: {},
        {**_FUSED, **_SECOND},
        {**_OUTSIDE, "positions": "position_embd C E"},
    ),
    # llama.cpp has the names and this table, but neither converts a GPT-J nor runs one.
    "gptj": Architecture("gptj", {**_GPT2_SIZES, _LAYER: "layer_norm_epsilon"}, _gptj, _SEPARATE),
    "gptneox": Architecture(
        "gpt_neox",
        {**_SIZES, _LAYER: "layer_norm_eps", "use_parallel_residual": "use_parallel_residual"},
        _gpt_neox,
        {**_FUSED, **_SECOND},
    ),
    "llama": Architecture(
        "llama", _LLAMA_KEYS, _llama("attention_bias", "mlp_bias"), _GATED, interleaved=True
    ),
    "qwen2": Architecture("qwen2", _LLAMA_KEYS, _llama(), _GATED),
    "qwen3": Architecture("qwen3", _LLAMA_KEYS, _llama("attention_bias"), {**_GATED, **_QK_NORM}),
    "gemma2": Architecture(
        "gemma2", {**_LLAMA_KEYS, **_CAPS}, _gemma(46, 4096, 2, False), {**_GATED, **_POST}
    ),
    "gemma3": Architecture(
        "gemma3_text",
        {**_LLAMA_KEYS, **_CAP},
        _gemma(62, 0, 6, True),
        {**_GATED, **_POST, **_QK_NORM},
    ),
}


def read_config(
    metadata: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], where: str
) -> dict[str, Any]:
    """What config.json would say.

    Args:
        metadata: of the file.
        shapes: of its tensors.
        where: the file, for messages.

    Raises:
        LoadError: an architecture that is not implemented, sizes that are missing, or metadata of
            the architecture that is not used and may change the computation.
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
    said = _said(own, architecture, shapes, f"{where}: {start}")
    rows = shapes.get("token_embd.weight", (0,))[0]
    config: dict[str, Any] = {
        "architectures": [FAMILIES[architecture.family].architecture],
        "model_type": architecture.family,
        "tie_word_embeddings": "output.weight" not in shapes,
        "vocab_size": own.pop("vocab_size", rows),
    }
    config |= {to: own.pop(key) for key, to in architecture.keys.items() if key in own}
    config |= architecture.rest(said)
    _refuse(said, f"{where}: {start}")
    for token, key in _TOKENS.items():
        if (value := metadata.get(f"tokenizer.ggml.{token}_token_id")) is not None:
            config[key] = value
    return config


def _said(
    own: dict[str, Any],
    architecture: Architecture,
    shapes: Mapping[str, tuple[int, ...]],
    where: str,
) -> Said:
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
    return Said(own, frozenset(biases), width, heads, own["block_count"], size)


def _refuse(said: Said, where: str) -> None:
    """Raises LoadError for metadata of the architecture that is left, and may mean something."""
    neutral = {
        "attention.causal": True,
        "attention.head_count_kv": said.heads,
        "attention.value_length": said.head_dim,
        "expert_count": 0,
        "expert_used_count": 0,
        "rope.dimension_count": said.head_dim,
        "rope.scaling.type": "none",
    }
    for key, value in said.left.items():
        if key not in neutral or value != neutral[key]:
            raise LoadError(
                f"{where}{key} = {value!r} may change the computation and is not implemented; take "
                "the model's safetensors"
            )


def _shortest(value: Any) -> Any:
    """A float32 that was written as 1e-05 is that number, not 9.999999747378752e-06."""
    return float(str(np.float32(value))) if isinstance(value, float) else value
