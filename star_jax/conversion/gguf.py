"""The tensors of a GGUF file; those that are quantized become float32, part by part."""

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
            head = gguf_header.read(where)
        except (ValueError, OSError) as error:
            raise LoadError(str(error)) from error
        shapes = {tensor.name: tensor.shape for tensor in head.tensors}
        self.config = gguf_families.read_config(head.metadata, shapes, str(where))
        self._written = gguf_families.ARCHITECTURES[head.metadata["general.architecture"]]
        self._packed = {tensor.name: tensor for tensor in head.tensors}
        self._bytes = self._lay_out(head)
        self.tensors = {name: TensorInfo(shape, "F32", where) for name, shape in shapes.items()}
        if _STRETCH in self.tensors and self._written.interleaved:
            self._stretch(self.config["rope_parameters"])

    def layout(self, family: Family) -> Family:
        """See `Source`."""
        return self._written.layout(family)

    def read(self, name: str, ranges: tuple[Range, ...]) -> np.ndarray:
        """See `Source`."""
        if self._written.interleaved and re.search(r"\.attn_[qk]\.", name):
            return self._heads(name, ranges)
        found = self._dequantize(name, ranges)
        # Scales are stored whole: where the family's weights are differences from 1, so are these.
        # That is exact, and 1 added to it gives back what is stored.
        if name.endswith("norm.weight"):
            found -= FAMILIES[self._written.family].fixed.get("norm_offset", 0.0)
        return found

    def _lay_out(self, head: gguf_header.Head) -> dict[str, np.ndarray]:
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

    def _kind(self, tensor: gguf_header.QuantizedTensor) -> Any:
        """How it is quantized, in the library's words."""
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

    def _stretch(self, rope: dict[str, Any]) -> None:
        """Llama 3.1's rope scaling, of which GGUF keeps the divisors of the frequencies alone."""
        divisors = self._dequantize(_STRETCH, ((0, self.tensors[_STRETCH].shape[0]),))
        found = RopeScaling("llama3", float(divisors.max()), low=1.0, high=4.0, original=8192)
        size, base = 2 * len(divisors), float(rope["rope_theta"])
        plain, scaled = (np.asarray(frequencies(size, base, s)) for s in (None, found))
        if rope.get("rope_type") != "default" or not np.allclose(
            plain / scaled, divisors, rtol=1e-4
        ):
            raise LoadError(
                f"{self.where}: {_STRETCH} is not of Llama 3.1's scaling (1, 4, 8192); take the "
                "model's safetensors"
            )
        del self.tensors[_STRETCH]
        rope |= {
            "rope_type": found.kind,
            "factor": found.factor,
            "low_freq_factor": found.low,
            "high_freq_factor": found.high,
            "original_max_position_embeddings": found.original,
        }

    def _heads(self, name: str, ranges: tuple[Range, ...]) -> np.ndarray:
        """Rows as the family has them: i and i + D / 2 are neighbours in the file."""
        rows, *rest = ranges
        queries = ".attn_q." in name
        heads = self.config["num_attention_heads" if queries else "num_key_value_heads"]
        size = self.tensors[name].shape[0] // heads
        first, last = rows[0] // size, -(-rows[1] // size)  # whole heads
        found = self._dequantize(name, ((first * size, last * size), *rest))
        pairs = found.reshape(last - first, size // 2, 2, *found.shape[1:])
        turned = pairs.swapaxes(1, 2).reshape(found.shape)
        return turned[rows[0] - first * size : rows[1] - first * size]


def _library(where: pathlib.Path) -> Any:
    try:
        return importlib.import_module("gguf")
    except ImportError as error:
        raise LoadError(f"{where}: needs the package gguf: pip install gguf") from error
