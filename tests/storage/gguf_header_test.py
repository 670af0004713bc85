import math
import pathlib

import gguf
import numpy as np
import pytest

import smollm2
from star_jax.storage import gguf_header


def write(path: pathlib.Path, tensors: bool = True) -> pathlib.Path:
    """A file by llama.cpp's own writer, with a value of every type."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_uint8("u8", 200)
    writer.add_int8("i8", -3)
    writer.add_uint16("u16", 60_000)
    writer.add_int16("i16", -30_000)
    writer.add_int32("i32", -(2**31))
    writer.add_uint64("u64", 2**63)
    writer.add_int64("i64", -(2**63))
    writer.add_float32("f32", 0.5)
    writer.add_float64("f64", math.pi)
    writer.add_bool("yes", True)
    writer.add_string("text", "né ▁")
    writer.add_array("words", ["", "é", "a b"])
    writer.add_array("numbers", [1, -2, 3])
    if tensors:
        writer.add_custom_alignment(64)
        writer.add_tensor("one", np.arange(5, dtype=np.float32))
        packed = gguf.quants.quantize(np.ones((3, 64), np.float32), gguf.GGMLQuantizationType.Q8_0)
        writer.add_tensor("two", packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_it_is_what_was_written(tmp_path: pathlib.Path):
    found = gguf_header.read(write(tmp_path / "a.gguf", tensors=False))
    assert found.metadata.pop("general.architecture") == "llama"
    assert list(found.metadata.values()) == [
        *(200, -3, 60_000, -30_000, -(2**31), 2**63, -(2**63), 0.5, math.pi, True),
        *("né ▁", ["", "é", "a b"], [1, -2, 3]),
    ]
    assert found.tensors == ()


@pytest.mark.parametrize("made", [True, False], ids=["written here", "smollm2"])
def test_it_is_that_of_llama_cpps_reader(made: bool, tmp_path: pathlib.Path):
    path = write(tmp_path / "a.gguf") if made else smollm2.gguf()
    theirs, found = gguf.GGUFReader(path), gguf_header.read(path)
    assert found.metadata.keys() == {key for key in theirs.fields if not key.startswith("GGUF.")}
    for name, value in found.metadata.items():
        assert theirs.fields[name].contents() == value, name
    assert found.size == theirs.data_offset
    assert [(each.name, each.shape, each.kind, each.at) for each in found.tensors] == [
        (each.name, tuple(reversed(each.shape.tolist())), each.tensor_type, each.data_offset)
        for each in theirs.tensors
    ]


def test_cut_off_anywhere_it_is_refused(tmp_path: pathlib.Path):
    whole = write(tmp_path / "whole.gguf").read_bytes()
    last = whole.index(b"two") + len("two") + 4 + 2 * 8 + 4 + 8  # axes, shape, kind, place
    cut = tmp_path / "cut.gguf"
    for size in range(last):
        cut.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"cut\.gguf: .*cut off or damaged"):
            gguf_header.read(cut)
    cut.write_bytes(whole[:last])
    assert gguf_header.read(cut) == gguf_header.read(tmp_path / "whole.gguf")


def test_damage_anywhere_is_refused_or_harmless(tmp_path: pathlib.Path):
    path = write(tmp_path / "a.gguf")
    whole = path.read_bytes()
    for place in range(gguf_header.read(path).size):
        for flipped in (0x01, 0x80, 0xFF):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ flipped]) + whole[place + 1 :])
            try:
                gguf_header.read(path)
            except ValueError as error:
                assert str(path) in str(error)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"GGUF\x03", b"GGUF\x01", "GGUF version 1; versions 2 and 3"),
        (b"two\x02", b"two\x05", "tensor two of 5 axes"),
        (b"two\x02", b"one\x02", "the same tensor twice"),
        (b"two\x02\0\0\0\x40", b"two\x02\0\0\0\0", "tensor two without numbers"),
        (b"\0\0u8\0", b"\0\0i8\0", "i8 twice"),
        (b"alignment\x04\0\0\0\x40", b"alignment\x04\0\0\0\0", "general.alignment = 0"),
        (b"alignment\x04\0\0\0\x40", b"alignment\x04\0\0\0\x30", "general.alignment = 48"),
    ],
)
def test_what_cannot_be_is_refused(old: bytes, new: bytes, message: str, tmp_path: pathlib.Path):
    raw = write(tmp_path / "a.gguf").read_bytes()
    assert raw.count(old) == 1
    (tmp_path / "a.gguf").write_bytes(raw.replace(old, new))
    with pytest.raises(ValueError, match=rf"a\.gguf: .*{message}"):
        gguf_header.read(tmp_path / "a.gguf")
