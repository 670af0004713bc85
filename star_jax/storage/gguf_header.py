"""Reads the head of a GGUF file: metadata, and the table of its tensors."""

import dataclasses
import mmap
import os
import struct
from typing import Any

# Type code of a value -> format character of struct. 8 is a string, 9 an array.
_FORMATS = dict(zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIif?Qqd", strict=True))
_STRING, _ARRAY = 8, 9
_MOST = 1 << 24  # entries of a list, or bytes of a string; more is a sign of a torn file
_AXES = 4  # highest number of axes of a tensor
_ALIGNMENT = 32  # tensors begin at multiples of so many bytes, unless the file says otherwise


@dataclasses.dataclass(frozen=True)
class QuantizedTensor:
    """A tensor's entry in the head of a file.

    Attributes:
        name: name of the tensor in the file.
        shape: shape after dequantization, the outermost axis first.
        kind: code of the quantization.
        at: byte of the file where the tensor begins.
    """

    name: str
    shape: tuple[int, ...]
    kind: int
    at: int


@dataclasses.dataclass(frozen=True)
class Head:
    """The part of a file before the weights.

    Attributes:
        metadata: values by key.
        tensors: entries of all tensors.
        size: bytes before the first tensor.
    """

    metadata: dict[str, Any]
    tensors: tuple[QuantizedTensor, ...]
    size: int


def read(path: str | os.PathLike[str]) -> Head:
    """Reads all of a GGUF file but the weights, in a fraction of a second.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no GGUF of version 2 or 3, or its head is cut off or damaged.
    """
    name = os.fspath(path)
    try:
        with open(name, "rb") as file:
            if file.read(4) != b"GGUF":
                raise IndexError("its first bytes are not 'GGUF'")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _head(data)
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{name}: not a whole GGUF file (cut off or damaged: {error}); copy or download it "
            "again"
        ) from error
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _head(data: mmap.mmap) -> Head:
    version, tensor_count, value_count = struct.unpack_from("<IQQ", data, 4)
    if version not in (2, 3):
        raise ValueError(f"GGUF version {version}; versions 2 and 3 (little-endian) are read")
    offset, metadata = 24, {}
    for _ in range(value_count):
        key, offset = _string(data, offset)
        if key in metadata:
            raise IndexError(f"{key} twice")
        (kind,) = struct.unpack_from("<I", data, offset)
        metadata[key], offset = _value(data, kind, offset + 4)
    tensors = []
    for _ in range(tensor_count):
        tensor, offset = _tensor(data, offset)
        tensors.append(tensor)
    if len({tensor.name for tensor in tensors}) < len(tensors):
        raise IndexError("the same tensor twice")
    multiple = metadata.get("general.alignment", _ALIGNMENT)
    if type(multiple) is not int or multiple < 1 or multiple & (multiple - 1):
        raise IndexError(f"general.alignment = {multiple!r}")
    size = -(-offset // multiple) * multiple
    absolute = (dataclasses.replace(tensor, at=size + tensor.at) for tensor in tensors)
    return Head(metadata, tuple(absolute), size)


def _tensor(data: mmap.mmap, offset: int) -> tuple[QuantizedTensor, int]:
    """Returns the tensor's entry at `offset`, its `at` from the head's end, and the next offset."""
    name, offset = _string(data, offset)
    (axes,) = struct.unpack_from("<I", data, offset)
    if not 0 < axes <= _AXES:
        raise IndexError(f"tensor {name} of {axes} axes")
    *shape, kind, at = struct.unpack_from(f"<{axes}QIQ", data, offset + 4)
    if 0 in shape:
        raise IndexError(f"tensor {name} without numbers")
    return QuantizedTensor(name, tuple(reversed(shape)), kind, at), offset + 16 + 8 * axes


def _value(data: mmap.mmap, kind: int, offset: int) -> tuple[Any, int]:
    """Returns the value at `offset`, and the offset after it."""
    if kind == _STRING:
        return _string(data, offset)
    if kind != _ARRAY:
        (values, offset) = _numbers(data, kind, 1, offset)
        return values[0], offset
    kind, count = struct.unpack_from("<IQ", data, offset)
    offset += 12
    if count > _MOST:
        raise IndexError(f"a list of {count} entries at byte {offset}")
    if kind != _STRING:
        return _numbers(data, kind, count, offset)
    strings = []
    for _ in range(count):
        string, offset = _string(data, offset)
        strings.append(string)
    return strings, offset


def _numbers(data: mmap.mmap, kind: int, count: int, offset: int) -> tuple[list[Any], int]:
    if kind not in _FORMATS:
        raise IndexError(f"a value of unknown type {kind} at byte {offset}")
    layout = f"<{count}{_FORMATS[kind]}"
    return list(struct.unpack_from(layout, data, offset)), offset + struct.calcsize(layout)


def _string(data: mmap.mmap, offset: int) -> tuple[str, int]:
    (size,) = struct.unpack_from("<Q", data, offset)
    end = offset + 8 + size
    if size > _MOST or end > len(data):
        raise IndexError(f"a string of {size} bytes at byte {offset}")
    return data[offset + 8 : end].decode(), end
