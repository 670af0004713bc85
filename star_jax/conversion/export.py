"""A trained model as a folder that transformers opens: config.json, safetensors, tokenizer files.

    python -m star_jax.export SOURCE FOLDER [--weights=float32] [--shard_bytes=2000000000]

SOURCE is a run's folder (its newest model), one of its checkpoints/rounds/<n>, a Hugging Face
folder, a .gguf file or owner/name on the hub. The folder is there whole or not at all: it is
written under another name beside its place, brought to the disk and renamed.
"""

import argparse
import os
import pathlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import jax
import ml_dtypes  # noqa: F401  numpy then knows bfloat16
import numpy as np
import safetensors.numpy
from jax.experimental import multihost_utils

from star_jax.conversion import load
from star_jax.conversion.config_fields import FamilyError
from star_jax.conversion.family import Family
from star_jax.conversion.weight_map import StoredWeight
from star_jax.data.tokenizer import HuggingFaceTokenizer
from star_jax.models import stacking
from star_jax.models.config import ModelConfig
from star_jax.runtime import sharding
from star_jax.storage import files
from star_jax.storage.checkpoint import named

SHARD_BYTES = 2_000_000_000  # the host holds one shard at a time
_PARTIAL = ".partial-"  # between a folder's name and its writer's process id
_GENERATION = "generation_config.json"
_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
    "chat_template.json",
    _GENERATION,
)
_TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id")


class ExportError(ValueError):
    """A model that cannot be written; the message names the remedy."""


class SavesFiles(Protocol):
    """A tokenizer that can write its files."""

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes the files that AutoTokenizer reads."""
        ...


def export(
    params: Any,
    config: ModelConfig,
    family: Family,
    hf_config: Mapping[str, Any],
    tokenizer: SavesFiles | str | os.PathLike[str] | None,
    folder: str | os.PathLike[str],
    shard_bytes: int = SHARD_BYTES,
) -> pathlib.Path:
    """Writes a model; with several processes all of them call this, and the first one writes.

    Args:
        params: weights with any sharding; they are written as `config.compute.param_dtype`.
        config: configuration of the model; rows that pad the vocabulary are not written.
        family: family that defines the files.
        hf_config: config.json of the model that this one was made from, or `family.write(config)`.
        tokenizer: tokenizer, which saves itself into the folder; or a folder to copy tokenizer
            files and generation_config.json from; or None.
        folder: local folder to write; an earlier export there is replaced.
        shard_bytes: largest size of a file, unless one tensor is larger.

    Returns:
        The absolute path of the folder.

    Raises:
        ExportError: `hf_config` is not of this model, `folder` holds something else than a model,
            or `tokenizer` is no folder.
    """
    target = pathlib.Path(folder).expanduser().absolute()
    values = _config(config, family, hf_config)
    weights = by_layer(named(params), config.layers)
    groups = _by_tensor({name: family.stored(name, config) for name in weights})
    shards = _plan(groups, np.dtype(config.compute.param_dtype).itemsize, shard_bytes)
    is_writer = jax.process_index() == 0
    partial = _begin(target) if is_writer else target
    for number, tensors in enumerate(shards):
        arrays = {tensor: _tensor(groups[tensor], weights, config) for tensor in tensors}
        if is_writer:
            path = partial / _file(number, len(shards))
            safetensors.numpy.save_file(arrays, path, metadata={"format": "pt"})
            files.as_new(path)
    if is_writer:
        _write_index(partial, groups, shards, np.dtype(config.compute.param_dtype).itemsize)
        files.write_json(partial / "config.json", values)
        _write_tokenizer(partial, tokenizer)
        _write_generation(partial / _GENERATION, values)
        _finish(partial, target)
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(f"export {target}")
    return target


def _config(config: ModelConfig, family: Family, hf_config: Mapping[str, Any]) -> dict[str, Any]:
    values = {key: value for key, value in hf_config.items() if key != "torch_dtype"}
    values["dtype"] = config.compute.param_dtype
    try:
        family.check(config, values, "hf_config")
    except FamilyError as error:
        raise ExportError(f"{error}; give the config.json that belongs to these weights") from error
    return values


def by_layer(weights: Mapping[str, jax.Array], count: int) -> dict[str, Callable[[], jax.Array]]:
    """Returns name -> function that returns a layer's weight; only the call slices the stack."""
    getters: dict[str, Callable[[], jax.Array]] = {}
    for name, weight in weights.items():
        parts = stacking.names(name, count)
        if parts == [name]:
            getters[name] = lambda weight=weight: weight
        for layer, part in enumerate(parts if parts != [name] else []):
            getters[part] = lambda weight=weight, layer=layer: weight[layer]
    return getters


def _by_tensor(stored_weights: Mapping[str, StoredWeight]) -> dict[str, dict[str, StoredWeight]]:
    """Returns tensor -> weights in it: three in a fused tensor, else one."""
    groups: dict[str, dict[str, StoredWeight]] = {}
    for name, stored in stored_weights.items():
        groups.setdefault(stored.tensor, {})[name] = stored
    return groups


def _size(group: Mapping[str, StoredWeight], itemsize: int) -> int:
    return int(np.prod(next(iter(group.values())).shape)) * itemsize


def _plan(
    groups: Mapping[str, Mapping[str, StoredWeight]], itemsize: int, shard_bytes: int
) -> list[list[str]]:
    """Returns the names of the tensors of each file."""
    shards: list[list[str]] = [[]]
    filled = 0
    for tensor, group in groups.items():
        size = _size(group, itemsize)
        if shards[-1] and filled + size > shard_bytes:
            shards.append([])
            filled = 0
        shards[-1].append(tensor)
        filled += size
    return shards


def _tensor(
    group: Mapping[str, StoredWeight],
    weights: Mapping[str, Callable[[], jax.Array]],
    config: ModelConfig,
) -> np.ndarray:
    """Returns a tensor of the files, assembled on the host."""
    tensor = np.empty(next(iter(group.values())).shape, config.compute.param_dtype)
    for name, stored in group.items():
        weight = weights[name]()
        if not weight.is_fully_addressable:
            weight = multihost_utils.process_allgather(weight, tiled=True)
        real = tuple(slice(size) for size in stored.weight_shape)
        stored.write(tensor, np.asarray(weight)[real])
    return tensor


def _file(number: int, count: int) -> str:
    return (
        f"model-{number + 1:05d}-of-{count:05d}.safetensors" if count > 1 else "model.safetensors"
    )


def _write_index(
    partial: pathlib.Path,
    groups: Mapping[str, Mapping[str, StoredWeight]],
    shards: list[list[str]],
    itemsize: int,
) -> None:
    if len(shards) == 1:
        return
    index = {
        "metadata": {"total_size": sum(_size(group, itemsize) for group in groups.values())},
        "weight_map": {
            tensor: _file(number, len(shards))
            for number, tensors in enumerate(shards)
            for tensor in tensors
        },
    }
    files.write_json(partial / "model.safetensors.index.json", index)


def _write_tokenizer(
    partial: pathlib.Path, tokenizer: SavesFiles | str | os.PathLike[str] | None
) -> None:
    if isinstance(tokenizer, str | os.PathLike):
        source = pathlib.Path(tokenizer).expanduser()
        if not source.is_dir():
            raise ExportError(f"{tokenizer}: no folder with tokenizer files; load the tokenizer")
        for name in _TOKENIZER_FILES:
            if (path := source / name).is_file():
                shutil.copyfile(path, partial / name)
    elif tokenizer is not None:
        tokenizer.save(partial)


def _write_generation(path: pathlib.Path, values: Mapping[str, Any]) -> None:
    """Adds the token ids of config.json that generation_config.json does not have yet."""
    config = files.read_json(path) if path.exists() else {"_from_model_config": True}
    missing = [key for key in _TOKENS if key not in config and values.get(key) is not None]
    if missing or not path.exists():
        files.write_json(path, config | {key: values[key] for key in missing})


def _begin(target: pathlib.Path) -> pathlib.Path:
    """Creates an empty folder beside the target; removes those of killed exports to it."""
    replaceable = target.is_dir() and (
        any(target.glob("model*.safetensors*")) or not any(target.iterdir())
    )
    if target.exists() and not replaceable:
        raise ExportError(f"{target}: is there and is no model; choose another folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    for leftover in target.parent.glob(f"{target.name}{_PARTIAL}*"):
        shutil.rmtree(leftover)
    partial = target.with_name(f"{target.name}{_PARTIAL}{os.getpid()}")
    partial.mkdir()
    return partial


def _finish(partial: pathlib.Path, target: pathlib.Path) -> None:
    """Flushes the files to the disk, and renames the folder to the target."""
    for path in (*partial.rglob("*"), partial):
        files.sync(path)
    if target.exists():
        old = partial.with_name(f"{partial.name}-old")
        target.rename(old)
        partial.rename(target)
        shutil.rmtree(old)
    else:
        partial.rename(target)
    files.sync(target.parent)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; ends with status 2 if the model cannot be read or written."""
    parser = argparse.ArgumentParser(
        prog="python -m star_jax.export",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="SOURCE", help="the model")
    parser.add_argument("folder", metavar="FOLDER", help="where to write it; may be there, as one")
    parser.add_argument("--weights", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--shard_bytes", type=int, default=SHARD_BYTES, help="of a file, at most")
    args = parser.parse_args(arguments)
    try:
        tokenizer = HuggingFaceTokenizer.open(args.source)
        model = load.load(args.source, sharding.make_mesh(1, -1, 1), param_dtype=args.weights)
        folder = export(
            model.params,
            model.config,
            model.family,
            model.hf_config,
            tokenizer,
            args.folder,
            args.shard_bytes,
        )
    except ValueError as error:
        parser.error(str(error))
    print(
        f"{folder}: open it with transformers.AutoModelForCausalLM.from_pretrained({str(folder)!r})"
    )
