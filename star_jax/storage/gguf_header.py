"""The head of a GGUF file: what it says of itself, and where its tensors lie."""

import dataclasses
import mmap
import os
import struct
from typing import Any

# Of a value: its code in the file -> how struct unpacks it. 8 is a string, 9 an array.
_FORMATS = dict(zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIif?Qqd", strict=True))
_STRING, _ARRAY = 8, 9
_MOST = 1 << 24  # entries of a list, bytes of a string: more is a torn file
_AXES = 4  # that a tensor has at most
_ALIGNMENT = 32  # bytes that the tensors begin at a multiple of, unless the file says otherwise


@dataclasses.dataclass(frozen=True)
class QuantizedTensor:
    """A tensor as it lies in the file.

    Attributes:
        name: as the file has it.
        shape: of its numbers, the outermost axis first.
        kind: code of how they are quantized.
        at: byte of the file where it begins.
    """

    name: str
    shape: tuple[int, ...]
    kind: int
    at: int


@dataclasses.dataclass(frozen=True)
class Head:
    """What stands before the weights.

    Attributes:
        metadata: keys and values.
        tensors: all of them.
        size: bytes until the first tensor.
    """

    metadata: dict[str, Any]
    tensors: tuple[QuantizedTensor, ...]
    size: int


def read(path: str | os.PathLike[str]) -> Head:
    """Reads all of a GGUF file but the weights, in a fraction of a second.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no GGUF file of version 2 or 3, or its head is cut off or damaged.
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
    version, tensors, entries = struct.unpack_from("<IQQ", data, 4)
    if version not in (2, 3):
        raise ValueError(f"GGUF version {version}; versions 2 and 3 (little-endian) are read")
    place, metadata = 24, {}
    for _ in range(entries):
        key, place = _string(data, place)
        if key in metadata:
            raise IndexError(f"{key} twice")
        (kind,) = struct.unpack_from("<I", data, place)
        metadata[key], place = _value(data, kind, place + 4)
    found = []
    for _ in range(tensors):
        tensor, place = _tensor(data, place)
        found.append(tensor)
    if len({tensor.name for tensor in found}) < len(found):
        raise IndexError("the same tensor twice")
    multiple = metadata.get("general.alignment", _ALIGNMENT)
    if type(multiple) is not int or multiple < 1 or multiple & (multiple - 1):
        raise IndexError(f"general.alignment = {multiple!r}")
    size = -(-place // multiple) * multiple
    moved = (dataclasses.replace(tensor, at=size + tensor.at) for tensor in found)
    return Head(metadata, tuple(moved), size)


def _tensor(data: mmap.mmap, place: int) -> tuple[QuantizedTensor, int]:
    """The tensor that is told of at `place`, where it begins after the head, and the next place."""
    name, place = _string(data, place)
    (axes,) = struct.unpack_from("<I", data, place)
    if not 0 < axes <= _AXES:
        raise IndexError(f"tensor {name} of {axes} axes")
    *shape, kind, at = struct.unpack_from(f"<{axes}QIQ", data, place + 4)
    if 0 in shape:
        raise IndexError(f"tensor {name} without numbers")
    return QuantizedTensor(name, tuple(reversed(shape)), kind, at), place + 16 + 8 * axes


def _value(data: mmap.mmap, kind: int, place: int) -> tuple[Any, int]:
    """The value at `place`, and the place after it."""
    if kind == _STRING:
        return _string(data, place)
    if kind != _ARRAY:
        (values, place) = _numbers(data, kind, 1, place)
        return values[0], place
    kind, count = struct.unpack_from("<IQ", data, place)
    place += 12
    if count > _MOST:
        raise IndexError(f"a list of {count} entries at byte {place}")
    if kind != _STRING:
        return _numbers(data, kind, count, place)
    strings = []
    for _ in range(count):
        string, place = _string(data, place)
        strings.append(string)
    return strings, place


def _numbers(data: mmap.mmap, kind: int, count: int, place: int) -> tuple[list[Any], int]:
    if kind not in _FORMATS:
        raise IndexError(f"a value of unknown type {kind} at byte {place}")
    layout = f"<{count}{_FORMATS[kind]}"
    return list(struct.unpack_from(layout, data, place)), place + struct.calcsize(layout)


def _string(data: mmap.mmap, place: int) -> tuple[str, int]:
    (size,) = struct.unpack_from("<Q", data, place)
    end = place + 8 + size
    if size > _MOST or end > len(data):
        raise IndexError(f"a string of {size} bytes at byte {place}")
    return data[place + 8 : end].decode(), end
