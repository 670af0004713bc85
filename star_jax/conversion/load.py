"""Loads language models from a folder, the Hugging Face hub, a GGUF file or a run onto the mesh.

Tensors are read one at a time, and only the parts that this process's devices hold. The host holds
the parts of one weight in all layers at a time. Nothing is ever unpickled, and no code that comes
with a model is run.
"""

import dataclasses
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from star_jax.conversion import run_checkpoint
from star_jax.conversion.config_fields import FamilyError
from star_jax.conversion.families import FAMILIES, read_config
from star_jax.conversion.family import Family
from star_jax.conversion.gguf import GgufFile
from star_jax.conversion.safetensors import (
    LoadError,
    SafetensorsFolder,
    WeightFiles,
    read_object,
    why_missing,
)
from star_jax.conversion.weight_map import Range, StoredWeight, is_finite
from star_jax.data.tokenizer import ByteTokenizer
from star_jax.models import stacking
from star_jax.models.abstract_params import abstract_params
from star_jax.models.config import ModelConfig, for_mesh
from star_jax.storage import hub
from star_jax.storage.checkpoint import named

_TYPES = ("F32", "F16", "BF16")
# Files to download from the hub: weights that are no pickles, configurations, tokenizers.
_PATTERNS = [
    "model*.safetensors",
    "*.json",
    "*.jinja",
    "tokenizer.model",
    "merges.txt",
    "vocab.txt",
]


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A model on the mesh.

    Attributes:
        config: configuration of the model, with the vocabulary padded for the mesh.
        family: family that defines the model's files.
        params: weights, a pytree like that of `abstract_params`.
        hf_config: content of the model's config.json.
        where: local folder or file that the model was read from.
    """

    config: ModelConfig
    family: Family
    params: Any
    hf_config: Mapping[str, Any]
    where: pathlib.Path


def load(
    source: str, mesh: Mesh, *, dtype: str = "float32", param_dtype: str = "float32"
) -> Loaded:
    """Loads a model.

    Args:
        source: folder with config.json and safetensors, .gguf file, run (its folder, or one of its
            checkpoints/rounds/<n>), or owner/name on the Hugging Face hub.
        mesh: devices to put the weights on.
        dtype: numeric type of the computation, "float32" or "bfloat16".
        param_dtype: numeric type of the weights, "float32" or "bfloat16".

    Raises:
        LoadError: the model cannot be read, is damaged or not implemented; the message names the
            file, the tensor or key, and the remedy.
    """
    path = _find(source, _PATTERNS)
    if run := run_checkpoint.find(path):
        return _load_run(run, mesh, dtype, param_dtype)
    files = _files(path)
    family, config = _read_config(files.config, files.where)
    config = for_mesh(config, mesh, dtype=dtype, param_dtype=param_dtype)
    abstract = abstract_params(config, mesh)
    leaves = named(abstract)
    stored_weights = _stored_weights(files, family, config, leaves)
    arrays = [
        _read(files, [stored_weights[part] for part in stacking.names(name, config.layers)], leaf)
        for name, leaf in leaves.items()
    ]
    params = jax.tree.unflatten(jax.tree.structure(abstract), arrays)
    return Loaded(
        config=config, family=family, params=params, hf_config=dict(files.config), where=path
    )


def check(source: str, mesh: Mesh, *, dtype: str = "float32") -> ModelConfig:
    """Returns the configuration that `load` would give; checks names and shapes of all tensors.

    No weights are read.

    Raises:
        LoadError: the same cases as in `load`, except for damaged values.
    """
    path = _find(source, _PATTERNS)
    if run := run_checkpoint.find(path):
        return _run_config_for_mesh(run, _read_run(run)[1], mesh, dtype, "float32")
    files = _files(path)
    family, config = _read_config(files.config, files.where)
    config = for_mesh(config, mesh, dtype=dtype)
    _stored_weights(files, family, config, named(abstract_params(config, mesh)))
    return config


def open_config(source: str) -> ModelConfig:
    """Returns the configuration of a model, in float32 and not padded; reads no weights.

    Only the smallest files are downloaded from the hub.

    Raises:
        LoadError: the same cases as in `load`, as far as the configuration shows them.
    """
    path = _find(source, ["config.json"])
    if run := run_checkpoint.find(path):
        return _read_run(run)[1]
    return _read_config(_config_of(path), path)[1]


def _find(source: str, patterns: list[str]) -> pathlib.Path:
    try:
        path = hub.find(source, [*patterns, hub.ADAPTER])
    except hub.NotFoundError as error:
        raise LoadError(str(error)) from error
    if why := hub.adapter(path):
        raise LoadError(f"{path}: {why}")
    return path


def _files(path: pathlib.Path) -> WeightFiles:
    if path.is_file():
        return GgufFile(path)
    return SafetensorsFolder(path, read_object(path / "config.json"))


def _read_config(values: Mapping[str, Any], where: pathlib.Path) -> tuple[Family, ModelConfig]:
    file = where if where.is_file() else where / "config.json"
    try:
        return read_config(values, str(file))
    except FamilyError as error:
        raise LoadError(str(error)) from error


def _load_run(run: pathlib.Path, mesh: Mesh, dtype: str, weights: str) -> Loaded:
    """Loads a model of a run, whose vocabulary is padded already."""
    family, config, hf_config = _read_run(run)
    config = _run_config_for_mesh(run, config, mesh, dtype, weights)
    abstract = abstract_params(config, mesh)
    leaves = named(abstract)
    weights_by_name = run_checkpoint.restore(run, leaves)
    params = jax.tree.unflatten(
        jax.tree.structure(abstract), [weights_by_name[name] for name in leaves]
    )
    return Loaded(config=config, family=family, params=params, hf_config=hf_config, where=run)


def _run_config_for_mesh(
    run: pathlib.Path, config: ModelConfig, mesh: Mesh, dtype: str, weights: str
) -> ModelConfig:
    padded = for_mesh(config, mesh, dtype=dtype, param_dtype=weights)
    if padded.vocab != config.vocab:
        raise LoadError(
            f"{run}: its {config.vocab} rows of the vocabulary do not split over this mesh; export "
            "it first (python -m star_jax.export), that opens on any"
        )
    return padded


def _read_run(run: pathlib.Path) -> tuple[Family, ModelConfig, dict[str, Any]]:
    """Returns family, configuration and config.json of a run's model.

    A run started from a pretrained model has its family; a model made in the run is a GPT-J.
    """
    if source := run_checkpoint.source(run):
        path = _find(source, ["config.json"])
        if inner := run_checkpoint.find(path):
            family, config, values = _read_run(inner)
        else:
            values = _config_of(path)
            family, config = _read_config(values, path)
        rows, tokens = run_checkpoint.rows(run), config.tokens
        return family, dataclasses.replace(config, vocab=rows, vocab_padding=rows - tokens), values
    family, config, tokens = FAMILIES["gptj"], run_checkpoint.open_config(run), ByteTokenizer()
    try:
        values = family.write(config)
    except FamilyError as error:
        raise LoadError(f"{run}: {error}") from error
    special = {"pad": tokens.pad_id, "bos": tokens.bos_id, "eos": tokens.eos_id}
    return family, config, values | {f"{name}_token_id": id_ for name, id_ in special.items()}


def _config_of(path: pathlib.Path) -> dict[str, Any]:
    return dict(_files(path).config if path.is_file() else read_object(path / "config.json"))


def _stored_weights(
    files: WeightFiles, family: Family, config: ModelConfig, weights: Iterable[str]
) -> dict[str, StoredWeight]:
    """Returns where each layer's weights are stored; refuses missing and unexpected tensors."""
    family = files.layout(family)
    names = (name for weight in weights for name in stacking.names(weight, config.layers))
    stored_weights = {name: family.stored(name, config) for name in names}
    head = family.stored("head.value", config)
    if not any(name.startswith(family.prefix) for name in files.tensors):
        stored_weights = {
            name: dataclasses.replace(stored, tensor=stored.tensor.removeprefix(family.prefix))
            for name, stored in stored_weights.items()
        }
    wanted = {stored.tensor: stored for stored in stored_weights.values()}
    unexpected = [
        name
        for name in files.tensors
        if name not in wanted and not name.endswith(family.buffers or ("\0",))
    ]
    if config.tied and head.tensor in unexpected:
        _check_tied(files, head.tensor, stored_weights["embedding.value"])
        unexpected.remove(head.tensor)
    for name, stored in wanted.items():
        tensor = files.tensors.get(name)
        if tensor is None:
            raise LoadError(
                f"{files.where}: tensor {name} is missing; {why_missing(name, files.tensors)}"
            )
        if tensor.type not in _TYPES:
            raise LoadError(
                f"{tensor.file}: tensor {name} has type {tensor.type}; weights must be one of "
                f"{', '.join(_TYPES)}: save the model again in one of these, not quantized"
            )
        if tensor.shape != stored.shape:
            raise LoadError(
                f"{tensor.file}: tensor {name} has shape {tensor.shape}, and config.json asks for "
                f"{stored.shape}: one of them is of another model"
            )
    if unexpected:
        raise LoadError(
            f"{files.tensors[unexpected[0]].file}: tensor {unexpected[0]} is unexpected "
            f"({len(unexpected)} in all): config.json knows nothing of it and it would be left out"
        )
    return stored_weights


def _check_tied(files: WeightFiles, head: str, embedding: StoredWeight) -> None:
    """Refuses a stored head that differs from the embedding, though config.json ties them."""
    shape = files.tensors[head].shape

    def read(name: str, start: int) -> np.ndarray:
        return files.read(name, ((start, min(start + 4096, shape[0])), (0, shape[1])))

    same = embedding.tensor in files.tensors and shape == files.tensors[embedding.tensor].shape
    for start in range(0, shape[0] if same else 0, 4096):
        same = same and np.array_equal(read(head, start), read(embedding.tensor, start))
    if not same:
        raise LoadError(
            f"{files.tensors[head].file}: tensor {head} is not {embedding.tensor}, and config.json "
            "says that they are one; set tie_word_embeddings to false if both are meant"
        )


def _read(
    files: WeightFiles, stored_weights: Sequence[StoredWeight], leaf: jax.ShapeDtypeStruct
) -> jax.Array:
    """Reads this process's shards of one weight; parts that shards share are read once.

    Args:
        files: files of the model.
        stored_weights: the tensor part that holds the weight, or those of a stack's layers.
        leaf: shape, type and sharding of the weight.
    """
    outer = len(leaf.shape) - len(stored_weights[0].weight_shape)  # 1 for a stack: its layers' axis
    cuts = {
        _ranges(index, leaf.shape)
        for index in leaf.sharding.addressable_devices_indices_map(leaf.shape).values()
    }
    shards = {
        cut: np.zeros([stop - start for start, stop in cut], leaf.dtype) for cut in sorted(cuts)
    }
    for layer, stored in enumerate(stored_weights):
        box = _box([cut[outer:] for cut in shards], stored.weight_shape)
        if any(start >= stop for start, stop in box):
            continue  # a process can hold nothing but padding
        values = stored.read(box, lambda ranges, stored=stored: files.read(stored.tensor, ranges))
        for cut, shard in shards.items():
            part = shard[layer] if outer else shard
            _fill(part, cut[outer:], values, box)
            if not is_finite(part):
                raise LoadError(
                    f"{files.tensors[stored.tensor].file}: tensor {stored.tensor} holds NaN or "
                    f"infinity in {leaf.dtype}: it is damaged, or its training has diverged; fetch "
                    "the file again, or take an earlier checkpoint"
                )
    array = jax.make_array_from_callback(
        leaf.shape, leaf.sharding, lambda index: shards[_ranges(index, leaf.shape)]
    )
    return jax.block_until_ready(array)  # frees host copies before the next weight is read


def _box(cuts: Sequence[tuple[Range, ...]], shape: Sequence[int]) -> tuple[Range, ...]:
    """Returns the smallest box in a weight of this shape, without padding, that covers `cuts`."""
    return tuple(
        (min(start for start, _ in along), min(max(stop for _, stop in along), size))
        for along, size in zip(zip(*cuts, strict=True), shape, strict=True)
    )


def _fill(
    shard: np.ndarray, cut: Sequence[Range], values: np.ndarray, box: Sequence[Range]
) -> None:
    """Copies the overlap of `values`, the part `box` of a weight, and `shard`, its part `cut`."""
    both = [(start, min(stop, end)) for (start, stop), (_, end) in zip(cut, box, strict=True)]
    if any(start >= stop for start, stop in both):
        return
    to, of = (
        tuple(slice(a - low, b - low) for (a, b), (low, _) in zip(both, origin, strict=True))
        for origin in (cut, box)
    )
    shard[to] = values[of]


def _ranges(index: Any, shape: tuple[int, ...]) -> tuple[Range, ...]:
    """Returns start and stop in each axis."""
    return tuple(cut.indices(size)[:2] for cut, size in zip(index, shape, strict=True))
