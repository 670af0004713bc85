"""GGUF files as a model in transformers' names; quantized tensors become float32, part by part."""

import importlib
import math
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from star_jax import gguf_head
from star_jax.model.config import RopeScaling
from star_jax.model.rotary import frequencies
from star_jax.model.sources import LoadError, Tensor
from star_jax.model.stored import Range

# Metadata after the architecture's name -> config.json.
_KEYS = {
    "vocab_size": "vocab_size",
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "block_count": "num_hidden_layers",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "rope.freq_base": "rope_theta",
}
# Tokens that config.json names too.
_TOKENS = {"bos": "bos_token_id", "eos": "eos_token_id", "padding": "pad_token_id"}
_ARCHITECTURES = {
    "llama": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}
_OUTSIDE = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}
_INSIDE = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_PLAIN = {"F32": np.float32, "F16": np.float16}  # kinds that numpy reads as they are
_STRETCH = "rope_freqs.weight"
_ROWS = 4096  # of a tensor that are dequantized at once; it takes several times their memory


class GgufFile:
    """A model in one .gguf file.

    Args:
        where: the file.

    Raises:
        LoadError: it is damaged, of an architecture that is not implemented, or says something of
            its computation that is not; or the package `gguf` is not installed.
    """

    def __init__(self, where: pathlib.Path) -> None:
        self.where = where
        self._gguf = _library(where)
        try:
            head = gguf_head.read(where)
        except (ValueError, OSError) as error:
            raise LoadError(str(error)) from error
        self.architecture = str(head.metadata.get("general.architecture"))
        self._packed = {self._name(tensor.name): tensor for tensor in head.tensors}
        self._bytes = self._lay_out(head)
        self.tensors = {
            name: Tensor(tensor.shape, "F32", where) for name, tensor in self._packed.items()
        }
        self.config = self._config(head.metadata)
        if _STRETCH in self.tensors:
            self.config["rope_scaling"] = self._stretch()

    def read(self, name: str, ranges: tuple[Range, ...]) -> np.ndarray:
        """See `Source`."""
        return self._heads(name, ranges) if self._interleaved(name) else self._rows(name, ranges)

    def _lay_out(self, head: gguf_head.Head) -> dict[str, np.ndarray]:
        """What lies in the file of every tensor: numbers, or blocks of them; none is read yet."""
        data, end, found = np.memmap(self.where, np.uint8, "r").view(np.ndarray), head.size, {}
        try:
            for name, tensor in sorted(self._packed.items(), key=lambda item: item[1].at):
                kind, shape = self._kind(tensor), tensor.shape
                dtype = _PLAIN.get(kind.name, np.uint8)
                if kind.name not in _PLAIN:
                    shape = self._gguf.quant_shape_to_byte_shape(shape, kind)
                if tensor.at < end:
                    raise ValueError(f"tensor {tensor.name} overlaps another")
                end = tensor.at + math.prod(shape) * np.dtype(dtype).itemsize
                if end > len(data):
                    raise ValueError(f"it ends at byte {len(data)}, inside of {tensor.name}")
                found[name] = data[tensor.at : end].view(dtype).reshape(shape)
        except ValueError as error:
            raise LoadError(
                f"{self.where}: not a whole GGUF file ({error}); copy or download it again"
            ) from error
        return found

    def _kind(self, tensor: gguf_head.Packed) -> Any:
        """How it is quantized, in the library's words."""
        try:
            return self._gguf.GGMLQuantizationType(tensor.kind)
        except ValueError as error:
            raise LoadError(
                f"{self.where}: {tensor.name} is quantized in a way (number {tensor.kind}) that "
                "the installed gguf does not know; update it, or take a file with Q8_0 or the like"
            ) from error

    def _rows(self, name: str, ranges: tuple[Range, ...]) -> np.ndarray:
        tensor, rows, (first, last) = self._packed[name], self._bytes[name], ranges[0]
        kind = self._kind(tensor)
        within = tuple(slice(*range_) for range_ in ranges[1:])
        found = np.empty([stop - start for start, stop in ranges], np.float32)
        try:
            for start in range(first, last, _ROWS):
                packed = rows[start : min(start + _ROWS, last)]
                part = self._gguf.quants.dequantize(packed, kind)
                found[start - first :][: len(packed)] = part[(slice(None), *within)]
            return found
        except NotImplementedError as error:
            raise LoadError(
                f"{self.where}: {tensor.name} is quantized as {kind.name}, which "
                "cannot be read; take a file with Q8_0, Q4_1, F16 or the like"
            ) from error

    def _stretch(self) -> dict[str, Any]:
        """Llama 3.1's rope scaling, of which GGUF keeps the divisors of the frequencies alone."""
        divisors = self._rows(_STRETCH, ((0, self.tensors[_STRETCH].shape[0]),))
        found = RopeScaling("llama3", float(divisors.max()), low=1.0, high=4.0, original=8192)
        size, base = 2 * len(divisors), float(self.config.get("rope_theta", 10_000.0))
        plain, scaled = (np.asarray(frequencies(size, base, s)) for s in (None, found))
        if not np.allclose(plain / scaled, divisors, rtol=1e-4):
            raise LoadError(
                f"{self.where}: {_STRETCH} is not of Llama 3.1's scaling (1, 4, 8192); take the "
                "model's safetensors"
            )
        del self.tensors[_STRETCH]
        return {
            "rope_type": found.kind,
            "factor": found.factor,
            "low_freq_factor": found.low,
            "high_freq_factor": found.high,
            "original_max_position_embeddings": found.original,
        }

    def _interleaved(self, name: str) -> bool:
        """Llama's queries and keys: (2i, 2i + 1) are rotated together, not (i, i + D / 2)."""
        return self.architecture == "llama" and bool(re.search(r"\.[qk]_proj\.", name))

    def _heads(self, name: str, ranges: tuple[Range, ...]) -> np.ndarray:
        """Rows in transformers' order, which the conversion to GGUF has permuted in each head."""
        rows, *rest = ranges
        queries = ".q_proj." in name
        heads = self.config["num_attention_heads" if queries else "num_key_value_heads"]
        size = self.tensors[name].shape[0] // heads
        first, last = rows[0] // size, -(-rows[1] // size)  # whole heads
        found = self._rows(name, ((first * size, last * size), *rest))
        pairs = found.reshape(last - first, size // 2, 2, *found.shape[1:])
        turned = pairs.swapaxes(1, 2).reshape(found.shape)
        return turned[rows[0] - first * size : rows[1] - first * size]

    def _name(self, name: str) -> str:
        """The name in transformers; as it is where there is none, to be refused as unexpected."""
        block = re.fullmatch(r"blk\.(\d+)\.(\w+)\.(weight|bias)", name)
        if block and block[2] in _INSIDE:
            return f"model.layers.{block[1]}.{_INSIDE[block[2]]}.{block[3]}"
        stem, _, kind = name.rpartition(".")
        return f"{_OUTSIDE[stem]}.{kind}" if stem in _OUTSIDE else name

    def _config(self, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """What config.json would say; every key of the architecture is used, or refused."""
        if self.architecture not in _ARCHITECTURES:
            raise LoadError(
                f"{self.where}: general.architecture = {self.architecture!r} is not implemented; "
                f"these are: {', '.join(_ARCHITECTURES)}"
            )
        own = {
            name.removeprefix(f"{self.architecture}."): _shortest(value)
            for name, value in metadata.items()
            if name.startswith(f"{self.architecture}.")
        }
        config: dict[str, Any] = {
            "architectures": [_ARCHITECTURES[self.architecture]],
            "model_type": self.architecture,
            "tie_word_embeddings": "lm_head.weight" not in self.tensors,
        }
        if embedding := self.tensors.get("model.embed_tokens.weight"):
            config["vocab_size"] = embedding.shape[0]
        config |= {_KEYS[name]: own.pop(name) for name in _KEYS if name in own}
        config.setdefault("num_key_value_heads", config.get("num_attention_heads"))
        self._refuse(own, config)
        bias = "model.layers.0.self_attn.q_proj.bias" in self.tensors
        if bias and self.architecture != "qwen2":
            config["attention_bias"] = True
        for token, key in _TOKENS.items():
            if (value := metadata.get(f"tokenizer.ggml.{token}_token_id")) is not None:
                config[key] = value
        return config

    def _refuse(self, own: dict[str, Any], config: Mapping[str, Any]) -> None:
        """Raises LoadError for metadata of the architecture that is not used."""
        if not all(
            isinstance(config.get(key), int) for key in ("hidden_size", "num_attention_heads")
        ):
            raise LoadError(f"{self.where}: has no sizes of a model; download it again")
        shared = config["hidden_size"] // max(config["num_attention_heads"], 1)
        size = config.get("head_dim", shared)
        neutral = {
            "attention.value_length": size,
            "rope.dimension_count": size,
            "rope.scaling.type": "none",
            "expert_count": 0,
            "expert_used_count": 0,
        }
        for name, value in own.items():
            if name not in neutral or value != neutral[name]:
                raise LoadError(
                    f"{self.where}: {self.architecture}.{name} = {value!r} may change the "
                    "computation and is not implemented; take the model's safetensors"
                )


def _library(where: pathlib.Path) -> Any:
    try:
        return importlib.import_module("gguf")
    except ImportError as error:
        raise LoadError(f"{where}: needs the package gguf: pip install gguf") from error


def _shortest(value: Any) -> Any:
    """A float32 that was written as 1e-05 is that number, not 9.999999747378752e-06."""
    return float(str(np.float32(value))) if isinstance(value, float) else value
