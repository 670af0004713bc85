"""Reads tensors of a GGUF file; quantized ones are dequantized to float32 in parts."""

import importlib
import math
import pathlib
import re
from typing import Any

import numpy as np

from star_jax.conversion import gguf_families
from star_jax.conversion.families import FAMILIES
from star_jax.conversion.family import Family
from star_jax.conversion.safetensors import LoadError, TensorInfo
from star_jax.conversion.weight_map import Range
from star_jax.models.config import RopeScaling
from star_jax.models.rope import frequencies
from star_jax.storage import gguf_header

_PLAIN = {"F32": np.float32, "F16": np.float16}  # kinds that numpy reads directly
_DIVISORS = "rope_freqs.weight"
_ROWS = 4096  # rows to dequantize at a time; dequantizing takes several times their memory


class GgufFile:
    """A model in one .gguf file.

    Args:
        where: path of the file.

    Raises:
        LoadError: the file is damaged, its architecture or metadata of its computation are not
            implemented, or the package "gguf" is not installed.
    """

    def __init__(self, where: pathlib.Path) -> None:
        self.where = where
        self._gguf = _library(where)
        try:
            head = gguf_header.read(where)
        except (ValueError, OSError) as error:
            raise LoadError(str(error)) from error
        shapes = {tensor.name: tensor.shape for tensor in head.tensors}
        self.config = gguf_families.read_config(head.metadata, shapes, str(where))
        self._architecture = gguf_families.ARCHITECTURES[head.metadata["general.architecture"]]
        self._packed = {tensor.name: tensor for tensor in head.tensors}
        self._bytes = self._lay_out(head)
        self.tensors = {name: TensorInfo(shape, "F32", where) for name, shape in shapes.items()}
        if _DIVISORS in self.tensors and self._architecture.interleaved:
            self._add_rope_scaling(self.config["rope_parameters"])

    def layout(self, family: Family) -> Family:
        """Returns `family` with the names and axes of this file's architecture."""
        return self._architecture.layout(family)

    def read(self, name: str, ranges: tuple[Range, ...]) -> np.ndarray:
        """Returns the slice of a tensor in float32, with its rows in the order of the family."""
        if self._architecture.interleaved and re.search(r"\.attn_[qk]\.", name):
            return self._deinterleaved(name, ranges)
        values = self._dequantize(name, ranges)
        # GGUF stores full scales. If the family's weights are differences from 1, subtract 1, which
        # is exact: adding 1 gives the stored number again.
        if name.endswith("norm.weight"):
            values -= FAMILIES[self._architecture.family].fixed.get("norm_offset", 0.0)
        return values

    def _lay_out(self, head: gguf_header.Head) -> dict[str, np.ndarray]:
        """Returns a memory map of each tensor, as numbers or quantized bytes; reads nothing yet."""
        data, end, maps = np.memmap(self.where, np.uint8, "r").view(np.ndarray), head.size, {}
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
                maps[name] = data[tensor.at : end].view(dtype).reshape(shape)
        except ValueError as error:
            raise LoadError(
                f"{self.where}: not a whole GGUF file ({error}); copy or download it again"
            ) from error
        return maps

    def _kind(self, tensor: gguf_header.QuantizedTensor) -> Any:
        """Returns the quantization as a GGMLQuantizationType."""
        try:
            return self._gguf.GGMLQuantizationType(tensor.kind)
        except ValueError as error:
            raise LoadError(
                f"{self.where}: {tensor.name} is quantized in a way (number {tensor.kind}) that "
                "the installed gguf does not know; update it, or take a file with Q8_0 or the like"
            ) from error

    def _dequantize(self, name: str, ranges: tuple[Range, ...]) -> np.ndarray:
        tensor, rows, (first, last) = self._packed[name], self._bytes[name], ranges[0]
        kind = self._kind(tensor)
        within = tuple(slice(*range_) for range_ in ranges[1:])
        values = np.empty([stop - start for start, stop in ranges], np.float32)
        try:
            for start in range(first, last, _ROWS):
                packed = rows[start : min(start + _ROWS, last)]
                part = self._gguf.quants.dequantize(packed, kind)
                values[start - first :][: len(packed)] = part[(slice(None), *within)]
            return values
        except NotImplementedError as error:
            raise LoadError(
                f"{self.where}: {tensor.name} is quantized as {kind.name}, which "
                "cannot be read; take a file with Q8_0, Q4_1, F16 or the like"
            ) from error

    def _add_rope_scaling(self, rope: dict[str, Any]) -> None:
        """Adds Llama 3.1's RoPE scaling to `rope`; GGUF keeps only its frequencies' divisors."""
        divisors = self._dequantize(_DIVISORS, ((0, self.tensors[_DIVISORS].shape[0]),))
        scaling = RopeScaling(
            kind="llama3", factor=float(divisors.max()), low=1.0, high=4.0, original=8192
        )
        size, base = 2 * len(divisors), float(rope["rope_theta"])
        plain, scaled = (np.asarray(frequencies(size, base, s)) for s in (None, scaling))
        if rope.get("rope_type") != "default" or not np.allclose(
            plain / scaled, divisors, rtol=1e-4
        ):
            raise LoadError(
                f"{self.where}: {_DIVISORS} is not of Llama 3.1's scaling (1, 4, 8192); take the "
                "model's safetensors"
            )
        del self.tensors[_DIVISORS]
        rope |= {
            "rope_type": scaling.kind,
            "factor": scaling.factor,
            "low_freq_factor": scaling.low,
            "high_freq_factor": scaling.high,
            "original_max_position_embeddings": scaling.original,
        }

    def _deinterleaved(self, name: str, ranges: tuple[Range, ...]) -> np.ndarray:
        """Reads rows of queries or keys in the family's order.

        Dimensions i and i + D / 2 of a head are neighbours in the file.
        """
        rows, *rest = ranges
        queries = ".attn_q." in name
        heads = self.config["num_attention_heads" if queries else "num_key_value_heads"]
        size = self.tensors[name].shape[0] // heads
        first, last = rows[0] // size, -(-rows[1] // size)  # whole heads
        values = self._dequantize(name, ((first * size, last * size), *rest))
        pairs = values.reshape(last - first, size // 2, 2, *values.shape[1:])
        halves = pairs.swapaxes(1, 2).reshape(values.shape)
        return halves[rows[0] - first * size : rows[1] - first * size]


def _library(where: pathlib.Path) -> Any:
    try:
        return importlib.import_module("gguf")
    except ImportError as error:
        raise LoadError(f"{where}: needs the package gguf: pip install gguf") from error
