"""Reads slices of the tensors in safetensors files; defines the interface of all weight files."""

import json
import pathlib
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol

import ml_dtypes  # noqa: F401  numpy then knows bfloat16
import numpy as np
import safetensors

from star_jax.conversion.family import Family
from star_jax.conversion.weight_map import Range

_INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"
_OWN = re.compile(r"model(-\d+-of-\d+)?\.safetensors")  # names of save_pretrained's files
_PICKLES = (".bin", ".pt", ".pth", ".ckpt")


class LoadError(ValueError):
    """A model that cannot be read; the message names the file, the tensor and the remedy."""


class TensorInfo(NamedTuple):
    """The description of a tensor, which is known before the tensor is read.

    Attributes:
        shape: shape of the whole tensor.
        type: name of the type in the file, such as "F32".
        file: file that holds the tensor.
    """

    shape: tuple[int, ...]
    type: str
    file: pathlib.Path


class WeightFiles(Protocol):
    """The files of a model, as a mapping from names to tensors."""

    @property
    def where(self) -> pathlib.Path:
        """The path of the folder or file."""
        ...

    @property
    def config(self) -> Mapping[str, Any]:
        """The content of config.json, or of the equivalent of other metadata."""
        ...

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        """The descriptions of all tensors by name."""
        ...

    def layout(self, family: Family) -> Family:
        """Returns `family` with the names and axes that its tensors have in these files."""
        ...

    def read(self, name: str, ranges: tuple[Range, ...]) -> np.ndarray:
        """Returns the slice of a tensor in these ranges; bfloat16, float16 or float32."""
        ...


class SafetensorsFolder:
    """A folder with config.json, and model.safetensors or the files that its index names.

    Args:
        where: path of the folder.
        config: content of its config.json.

    Raises:
        LoadError: a file is missing, damaged, outside of the folder, or a pickle.
    """

    def __init__(self, where: pathlib.Path, config: Mapping[str, Any]) -> None:
        self.where, self.config = where, config
        self._index = _read_index(where)
        files = sorted(set(self._index.values())) or [_SINGLE]
        self._open = {name: _open(_inside(where, name)) for name in files}
        _check_others(where, files)
        self._slices = {}
        self.tensors: dict[str, TensorInfo] = {}
        for file, handle in self._open.items():
            self._add(where / file, file, handle)
        for name, file in self._index.items():
            if name not in self.tensors:
                raise LoadError(
                    f"{where / file}: has no tensor {name}, which {_INDEX} says it has; "
                    "copy both files again"
                )

    def layout(self, family: Family) -> Family:
        """Returns `family` unchanged."""
        return family

    def read(self, name: str, ranges: tuple[Range, ...]) -> np.ndarray:
        """Returns the slice of a tensor in these ranges, in the type of the file."""
        return self._slices[name][tuple(slice(*range_) for range_ in ranges)]

    def _add(self, path: pathlib.Path, file: str, handle: Any) -> None:
        for name in handle.keys():
            if self._index.get(name, file) != file or name in self.tensors:
                raise LoadError(
                    f"{path}: holds {name}, which {_INDEX} says is in {self._index.get(name)}; "
                    "copy the files again"
                )
            slices = handle.get_slice(name)
            self._slices[name] = slices
            self.tensors[name] = TensorInfo(tuple(slices.get_shape()), slices.get_dtype(), path)


def read_object(path: pathlib.Path) -> dict[str, Any]:
    """Returns the JSON object in a file.

    Raises:
        LoadError: there is no such file, or it does not hold a JSON object.
    """
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise LoadError(f"{path}: cannot be read ({error.strerror}); restore it") from error
    except (ValueError, RecursionError) as error:
        raise LoadError(f"{path}: not JSON ({error}); restore it") from error
    if not isinstance(value, dict):
        raise LoadError(f"{path}: holds {type(value).__name__}, not a JSON object; restore it")
    return value


def _read_index(where: pathlib.Path) -> dict[str, str]:
    """Returns tensor -> file from the index; {} if there is only one file.

    Raises:
        LoadError: there are no safetensors, or the index is damaged.
    """
    path = where / _INDEX
    if path.exists():
        index = read_object(path).get("weight_map")
        if not isinstance(index, dict) or not index or not _all_strings(index):
            raise LoadError(f"{path}: no 'weight_map' from tensors to files; restore it")
        return index
    if (where / _SINGLE).exists():
        return {}
    parts = sorted(file.name for file in where.glob("model-*.safetensors"))
    pickles = sorted(file.name for file in where.iterdir() if file.suffix in _PICKLES)
    if parts:
        why = f"{parts[0]} is a part; {_INDEX}, which says of what, is missing: copy it too"
    elif pickles:
        why = (
            f"{pickles[0]} is a pickle, which can run code and is never read; open the model with "
            "transformers where you trust it, and save_pretrained it as safetensors"
        )
    else:
        why = f"neither {_SINGLE} nor {_INDEX} is there; copy the weights into the folder"
    raise LoadError(f"{where}: {why}")


def _check_others(where: pathlib.Path, files: list[str]) -> None:
    """Refuses other files in the folder with names of model weights, as either may be meant.

    Files with other names are allowed: pickles, other formats ("consolidated"), a trainer's files.
    """
    others = sorted(file.name for file in where.iterdir() if _OWN.fullmatch(file.name))
    if left := [name for name in others if name not in files]:
        raise LoadError(
            f"{where}: {left[0]} would be left out ({len(left)} in all) beside {files[0]}: it is "
            f"of another save, or {_INDEX} is of another; keep the files of one save alone"
        )


def why_missing(name: str, tensors: Iterable[str]) -> str:
    """Returns the likely reason why the tensor `name` is not in `tensors`, and the remedy."""

    def has_its_parts(candidate: str) -> bool:
        rest = iter(candidate.split("."))
        return all(part in rest for part in name.split("."))

    if wrapped := min(filter(has_its_parts, tensors), key=len, default=""):
        return (
            f"{wrapped} is there, as it is called inside of a wrapper (torch.compile: _orig_mod; "
            "DataParallel: module; PEFT: base_model): save the model that is inside of it, an "
            "adapter merged (merge_and_unload)"
        )
    return (
        "the files are not all of this model, or config.json is of another: copy the folder again"
    )


def _all_strings(index: dict[str, Any]) -> bool:
    return all(isinstance(file, str) for file in index.values())


def _inside(where: pathlib.Path, name: str) -> pathlib.Path:
    """Returns the path of a file of the folder; refuses paths that lead out of the folder.

    In the hub's cache, a snapshot links to files in "blobs", a folder beside "snapshots", so there
    the path may lead anywhere in the model's folder.
    """
    root = where.resolve()
    if root.parent.name == "snapshots" and root.parents[1].name.startswith("models--"):
        root = root.parents[1]
    path = (where / name).resolve()
    if pathlib.PurePath(name).name != name or not path.is_relative_to(root):
        raise LoadError(
            f"{where}: names the file {name}, which is outside of the folder; put the file itself "
            "into the folder, if you trust it"
        )
    if not path.is_file():
        raise LoadError(f"{where / name}: is missing, though {_INDEX} names it; copy it too")
    return path


def _open(path: pathlib.Path) -> Any:
    try:
        return safetensors.safe_open(path, framework="numpy")
    except (safetensors.SafetensorError, OSError) as error:
        raise LoadError(
            f"{path}: not a whole safetensors file ({error}); copy or download it again"
        ) from error
