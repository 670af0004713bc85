"""Models as llama.cpp's converter would write them: names, metadata, and what it does to weights."""

import pathlib
import re
from collections.abc import Mapping
from typing import Any

import gguf
import numpy as np

# model_type -> general.architecture
ARCHITECTURES = {
    "gpt2": "gpt2",
    "gptj": "gptj",  # it has names for these, and converts none
    "gpt_neox": "gptneox",
    "llama": "llama",
    "mistral": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "gemma2": "gemma2",
    "gemma3_text": "gemma3",
}


def converted(name: str, x: np.ndarray, config: Any) -> np.ndarray:
    """A tensor of transformers as it stands in a GGUF file."""
    kind, heads = config.model_type, config.num_attention_heads
    if kind == "gpt2" and re.search(r"(c_attn|c_proj|c_fc)\.weight$", name):
        return x.T
    if ".query_key_value." in name:  # from q, k and v of every head to all q, all k, all v
        return x.reshape(heads, 3, -1, *x.shape[1:]).swapaxes(0, 1).reshape(x.shape)
    if kind in ("llama", "mistral") and (part := re.search(r"\.([qk])_proj\.", name)):
        count = heads if part[1] == "q" else config.num_key_value_heads
        pairs = x.reshape(count, 2, len(x) // count // 2, *x.shape[1:])
        return pairs.swapaxes(1, 2).reshape(x.shape)
    return x + 1 if kind.startswith("gemma") and name.endswith("norm.weight") else x


def metadata(config: Any) -> dict[str, Any]:
    """What it says of the architecture."""
    kind = config.model_type
    width, heads = config.hidden_size, config.num_attention_heads
    hidden = getattr(config, "intermediate_size", None) or getattr(config, "n_inner", None)
    said = {
        "context_length": config.max_position_embeddings,
        "embedding_length": width,
        "block_count": config.num_hidden_layers,
        "feed_forward_length": hidden or 4 * width,
        "attention.head_count": heads,
    }
    if kind in ("gpt2", "gptj"):
        rotary = {"rope.dimension_count": config.rotary_dim} if kind == "gptj" else {}
        return said | rotary | {"attention.layer_norm_epsilon": config.layer_norm_epsilon}
    rope = config.rope_parameters
    if kind == "gpt_neox":
        return said | {
            "rope.dimension_count": int(rope["partial_rotary_factor"] * (width // heads)),
            "use_parallel_residual": config.use_parallel_residual,
            "attention.layer_norm_epsilon": config.layer_norm_eps,
        }
    whole = rope.get("full_attention", rope)
    said |= {
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        "rope.freq_base": whole["rope_theta"],
    }
    if size := getattr(config, "head_dim", None):
        said |= {"attention.key_length": size, "attention.value_length": size}
    if whole["rope_type"] == "linear":
        said |= {"rope.scaling.type": "linear", "rope.scaling.factor": whole["factor"]}
    if kind.startswith("gemma"):
        said["attention.sliding_window"] = config.sliding_window
    if local := rope.get("sliding_attention"):
        said["rope.freq_base_swa"] = local["rope_theta"]
    caps = ("attn_logit_softcapping", "final_logit_softcapping")
    return said | {key: cap for key in caps if (cap := getattr(config, key, None))}


def write(model: Any, path: pathlib.Path, changes: Mapping[str, Any] | None = None) -> None:
    """Writes a model of transformers.

    Args:
        model: of a family in `ARCHITECTURES`, on torch.
        path: the file.
        changes: of the architecture's metadata; None takes a key out.
    """
    config = model.config
    architecture = ARCHITECTURES[config.model_type]
    number = next(n for n, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    names = gguf.get_tensor_name_map(number, config.num_hidden_layers)
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in {**metadata(config), **(changes or {})}.items():
        if value is not None:
            writer.add_key_value(f"{architecture}.{key}", value, *kind_of(value))
    writer.add_token_list([f"t{n}" for n in range(config.vocab_size)])
    for name, weight in model.named_parameters():  # a tied head is no parameter of its own
        x = converted(name, weight.detach().numpy(), config)
        writer.add_tensor(str(names.get_name(name, (".weight", ".bias"))), np.ascontiguousarray(x))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def kind_of(value: Any) -> tuple[gguf.GGUFValueType, gguf.GGUFValueType | None]:
    """How a value is written, and what is in it, if it is a list."""
    kinds = gguf.GGUFValueType
    if isinstance(value, list):
        return kinds.ARRAY, kind_of(value[0])[0]
    plain = {bool: kinds.BOOL, int: kinds.UINT32, float: kinds.FLOAT32, str: kinds.STRING}
    return plain[type(value)], None
