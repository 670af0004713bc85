import json
import os
import pathlib
from collections.abc import Callable

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from star_jax.conversion import safetensors
from star_jax.conversion.safetensors import LoadError, SafetensorsFolder

INDEX = "model.safetensors.index.json"
ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
A = np.arange(12, dtype=np.float32).reshape(3, 4)
B = np.arange(5).astype(ml_dtypes.bfloat16)


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    """Two tensors in two files."""
    where = tmp_path / "model"
    where.mkdir()
    save_file({"a": A}, where / ONE)
    save_file({"b": B}, where / TWO)
    index(where, a=ONE, b=TWO)
    return where


def index(where: pathlib.Path, **files: str) -> None:
    (where / INDEX).write_text(json.dumps({"weight_map": files}))


@pytest.mark.parametrize("sharded", [False, True])
def test_tensors_are_read_by_slices(folder: pathlib.Path, sharded: bool):
    if not sharded:
        for path in folder.iterdir():
            path.unlink()
        save_file({"a": A, "b": B}, folder / "model.safetensors")
    source = SafetensorsFolder(folder, {})
    assert {name: (t.shape, t.type) for name, t in source.tensors.items()} == {
        "a": ((3, 4), "F32"),
        "b": ((5,), "BF16"),
    }
    assert (source.read("a", ((1, 3), (0, 2))) == A[1:3, :2]).all()
    part = source.read("b", ((2, 4),))
    assert part.dtype == ml_dtypes.bfloat16 and (part == B[2:4]).all()


def truncate(path: pathlib.Path, size: int) -> None:
    os.truncate(path, size)


def outside(where: pathlib.Path) -> pathlib.Path:
    path = where.parent / "outside.safetensors"
    save_file({"b": B}, path)
    return path


def link(where: pathlib.Path) -> None:
    (where / TWO).unlink()
    (where / TWO).symlink_to(outside(where))


def only_pickles(where: pathlib.Path) -> None:
    for path in where.iterdir():
        path.unlink()
    (where / "pytorch_model.bin").write_bytes(b"\x80\x02.")


BAD: dict[str, tuple[Callable[[pathlib.Path], object], str]] = {
    "truncated": (lambda where: truncate(where / TWO, 70), f"{TWO}: not a whole safetensors file"),
    "empty": (lambda where: truncate(where / ONE, 0), f"{ONE}: not a whole .*download it again"),
    "garbage": (lambda where: (where / ONE).write_bytes(os.urandom(99)), f"{ONE}: not a whole"),
    "missing shard": (lambda where: (where / TWO).unlink(), f"{TWO}: is missing, though {INDEX}"),
    "missing index": (lambda where: (where / INDEX).unlink(), f"{ONE} is a part; {INDEX}"),
    "index of another": (lambda where: index(where, a=ONE, c=TWO), f"{TWO}: has no tensor c"),
    "index says elsewhere": (
        lambda where: index(where, a=ONE, b=ONE, c=TWO),
        f"{ONE}: has no tensor b|{TWO}: holds b, which {INDEX} says is in {ONE}",
    ),
    "dots": (lambda where: index(where, b=f"../{outside(where).name}"), "outside of the folder"),
    "absolute": (lambda where: index(where, b=str(outside(where))), "outside of the folder"),
    "symlink": (link, f"{TWO}, which is outside of the folder"),
    "nothing named": (lambda where: index(where), f"{INDEX}: no 'weight_map'"),
    "a list": (lambda where: (where / INDEX).write_text("[]"), f"{INDEX}: holds list, not a JSON"),
    "no JSON": (lambda where: (where / INDEX).write_text("{"), f"{INDEX}: not JSON"),
    "a number": (lambda where: index(where, a=3), "no 'weight_map' from tensors to files"),  # pyright: ignore[reportArgumentType]
    "pickles": (only_pickles, "pytorch_model.bin is a pickle, which can run code and is never"),
    "nothing": (lambda where: [path.unlink() for path in where.iterdir()], "copy the weights into"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_folders_are_refused(folder: pathlib.Path, name: str):
    damage, message = BAD[name]
    damage(folder)
    with pytest.raises(LoadError, match=message) as caught:
        SafetensorsFolder(folder, {})
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("size", range(0, 200, 13))
def test_a_file_cut_anywhere_is_refused(folder: pathlib.Path, size: int):
    whole = (folder / ONE).read_bytes()
    if size < len(whole):
        (folder / ONE).write_bytes(whole[:size])
        with pytest.raises(LoadError, match=f"{ONE}: not a whole"):
            SafetensorsFolder(folder, {})


def test_links_of_the_hubs_cache_lead_to_its_blobs(folder: pathlib.Path):
    model = folder.parent / "models--owner--name"
    snapshot = model / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (model / "blobs").mkdir()
    for path in folder.iterdir():
        blob = path.rename(model / "blobs" / f"{hash(path.name)}")
        (snapshot / path.name).symlink_to(blob)
    assert set(SafetensorsFolder(snapshot, {}).tensors) == {"a", "b"}
    (snapshot / TWO).unlink()
    (snapshot / TWO).symlink_to(outside(model))
    with pytest.raises(LoadError, match="outside of the folder"):
        SafetensorsFolder(snapshot, {})


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot be read"), ("{", "not JSON"), ("[" * 10**5, "not JSON"), ("3", "holds int")],
)
def test_objects(tmp_path: pathlib.Path, content: str | None, message: str):
    path = tmp_path / "config.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(LoadError, match=f"{path}: {message}"):
        safetensors.read_object(path)


@pytest.mark.parametrize(
    ("beside", "refused"),
    [
        ("model.safetensors", True),
        ("model-00003-of-00003.safetensors", True),
        ("consolidated.safetensors", False),
        ("optimizer.safetensors", False),
        ("pytorch_model.bin", False),
    ],
)
def test_weights_of_another_save_are_not_left_out_in_silence(
    folder: pathlib.Path, beside: str, refused: bool
):
    save_file({"a": A + 1}, folder / beside)
    if not refused:
        assert set(SafetensorsFolder(folder, {}).tensors) == {"a", "b"}
        return
    with pytest.raises(LoadError, match=f"{beside} would be left out .* the files of one save"):
        SafetensorsFolder(folder, {})


def test_parts_beside_a_whole_file_are_not_left_out_in_silence(folder: pathlib.Path):
    (folder / INDEX).unlink()
    save_file({"a": A, "b": B}, folder / "model.safetensors")
    with pytest.raises(LoadError, match=rf"{ONE} would be left out \(2 in all\) beside model.safe"):
        SafetensorsFolder(folder, {})


@pytest.mark.parametrize(
    "found",
    [
        "_orig_mod.blocks.0.query.weight",
        "module.module.blocks.0.query.weight",
        "blocks.0._fsdp_wrapped_module.query.weight",
        "base_model.model.blocks.0.query.base_layer.weight",
    ],
)
def test_a_wrapper_is_named_where_a_tensor_is_missing(found: str):
    there = ["blocks.0.key.weight", "x." + found, found]
    told = safetensors.why_missing("blocks.0.query.weight", there)
    assert told.startswith(f"{found} is there, as it is called inside of a wrapper")


def test_a_tensor_may_just_be_missing():
    assert "copy the folder again" in safetensors.why_missing("a.1.b", ["a.1.c", "a.11.b", "b.1.a"])
