"""Real language models from a folder, the Hugging Face hub, a GGUF file or a run, onto the mesh.

Tensors are read one at a time, and of each only the parts that this process's devices hold; the
host has those of one weight in all layers at a time. Nothing is ever unpickled, and no code that
comes with a model is run.
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
# What is taken from the hub: weights that are no pickles, settings, tokenizers.
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
        config: its shape, its vocabulary padded for the mesh.
        family: how its files are written.
        params: its weights, a pytree as `abstract_params` describes it.
        hf_config: its config.json.
        where: the local folder or file that it was read from.
    """

    config: ModelConfig
    family: Family
    params: Any
    hf_config: Mapping[str, Any]
    where: pathlib.Path


def load(
    source: str, mesh: Mesh, *, dtype: str = "float32", param_dtype: str = "float32"
) -> Loaded:
    """Reads a model.

    Args:
        source: a folder with config.json and safetensors, a .gguf file, a run of ours (its folder,
            or one of its checkpoints/rounds/<n>), or a name on the Hugging Face hub.
        mesh: where the weights go.
        dtype: of the computation, "float32" or "bfloat16".
        param_dtype: type to keep the weights in, "float32" or "bfloat16".

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
    places = _places(files, family, config, leaves)
    arrays = [
        _read(files, [places[part] for part in stacking.names(name, config.layers)], leaf)
        for name, leaf in leaves.items()
    ]
    params = jax.tree.unflatten(jax.tree.structure(abstract), arrays)
    return Loaded(config, family, params, dict(files.config), path)


def check(source: str, mesh: Mesh, *, dtype: str = "float32") -> ModelConfig:
    """The shape that `load` would give, once all its tensors are seen to be there; reads none.

    Raises:
        LoadError: as in `load`, but for values that turn out damaged.
    """
    path = _find(source, _PATTERNS)
    if run := run_checkpoint.find(path):
        return _fit_run(run, _read_run(run)[1], mesh, dtype, "float32")
    files = _files(path)
    family, config = _read_config(files.config, files.where)
    config = for_mesh(config, mesh, dtype=dtype)
    _places(files, family, config, named(abstract_params(config, mesh)))
    return config


def open_config(source: str) -> ModelConfig:
    """The shape of a model, float32 and not padded, from its smallest files; reads no weights.

    Raises:
        LoadError: as in `load`, for what the configuration alone shows.
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
    """A model of a run, whose vocabulary is padded already."""
    family, config, hf_config = _read_run(run)
    fitted = _fit_run(run, config, mesh, dtype, weights)
    abstract = abstract_params(fitted, mesh)
    leaves = named(abstract)
    found = run_checkpoint.restore(run, leaves)
    params = jax.tree.unflatten(jax.tree.structure(abstract), [found[name] for name in leaves])
    return Loaded(fitted, family, params, hf_config, run)


def _fit_run(
    run: pathlib.Path, config: ModelConfig, mesh: Mesh, dtype: str, weights: str
) -> ModelConfig:
    fitted = for_mesh(config, mesh, dtype=dtype, param_dtype=weights)
    if fitted.vocab != config.vocab:
        raise LoadError(
            f"{run}: its {config.vocab} rows of the vocabulary do not split over this mesh; export "
            "it first (python -m star_jax.export), that opens on any"
        )
    return fitted


def _read_run(run: pathlib.Path) -> tuple[Family, ModelConfig, dict[str, Any]]:
    """What a run has trained: a pretrained model of some family, or its own, which is a GPT-J."""
    if source := run_checkpoint.source(run):
        path = _find(source, ["config.json"])
        if inner := run_checkpoint.find(path):
            family, config, values = _read_run(inner)
        else:
            values = _config_of(path)
            family, config = _read_config(values, path)
        rows, tokens = run_checkpoint.rows(run), config.vocab - config.vocab_padding
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


def _places(
    files: WeightFiles, family: Family, config: ModelConfig, weights: Iterable[str]
) -> dict[str, StoredWeight]:
    """Where each layer's weights lie, with every tensor of the files accounted for."""
    family = files.layout(family)
    names = (name for weight in weights for name in stacking.names(weight, config.layers))
    places = {name: family.stored(name, config) for name in names}
    head = family.stored("head.value", config)
    if not any(name.startswith(family.prefix) for name in files.tensors):
        places = {
            name: dataclasses.replace(place, tensor=place.tensor.removeprefix(family.prefix))
            for name, place in places.items()
        }
    wanted = {place.tensor: place for place in places.values()}
    unexpected = [
        name
        for name in files.tensors
        if name not in wanted and not name.endswith(family.buffers or ("\0",))
    ]
    if config.tied and head.tensor in unexpected:
        _check_tied(files, head.tensor, places["embedding.value"])
        unexpected.remove(head.tensor)
    for name, place in wanted.items():
        found = files.tensors.get(name)
        if found is None:
            raise LoadError(
                f"{files.where}: tensor {name} is missing; {why_missing(name, files.tensors)}"
            )
        if found.type not in _TYPES:
            raise LoadError(
                f"{found.file}: tensor {name} has type {found.type}; weights must be one of "
                f"{', '.join(_TYPES)}: save the model again in one of these, not quantized"
            )
        if found.shape != place.shape:
            raise LoadError(
                f"{found.file}: tensor {name} has shape {found.shape}, and config.json asks for "
                f"{place.shape}: one of them is of another model"
            )
    if unexpected:
        raise LoadError(
            f"{files.tensors[unexpected[0]].file}: tensor {unexpected[0]} is unexpected "
            f"({len(unexpected)} in all): config.json knows nothing of it and it would be left out"
        )
    return places


def _check_tied(files: WeightFiles, head: str, embedding: StoredWeight) -> None:
    """A tied head that is stored nevertheless must be the embedding."""
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
    files: WeightFiles, places: Sequence[StoredWeight], leaf: jax.ShapeDtypeStruct
) -> jax.Array:
    """One weight, as the shards of this process; what they hold together is read once.

    Args:
        files: where from.
        places: of the weight, or of each layer's part of a stack.
        leaf: its shape, type and sharding.
    """
    outer = len(leaf.shape) - len(places[0].weight_shape)  # 1 for a stack: its layers' axis
    cuts = {
        _ranges(index, leaf.shape)
        for index in leaf.sharding.addressable_devices_indices_map(leaf.shape).values()
    }
    shards = {
        cut: np.zeros([stop - start for start, stop in cut], leaf.dtype) for cut in sorted(cuts)
    }
    for layer, place in enumerate(places):
        box = _box([cut[outer:] for cut in shards], place.weight_shape)
        if any(start >= stop for start, stop in box):
            continue  # a process can hold nothing but padding
        found = place.read(box, lambda ranges, place=place: files.read(place.tensor, ranges))
        for cut, shard in shards.items():
            part = shard[layer] if outer else shard
            _fill(part, cut[outer:], found, box)
            if not is_finite(part):
                raise LoadError(
                    f"{files.tensors[place.tensor].file}: tensor {place.tensor} holds NaN or "
                    f"infinity in {leaf.dtype}: it is damaged, or its training has diverged; fetch "
                    "the file again, or take an earlier checkpoint"
                )
    array = jax.make_array_from_callback(
        leaf.shape, leaf.sharding, lambda index: shards[_ranges(index, leaf.shape)]
    )
    return jax.block_until_ready(array)  # or the next weight would be read beside this one's copies


def _box(cuts: Sequence[tuple[Range, ...]], shape: Sequence[int]) -> tuple[Range, ...]:
    """The smallest part of a weight of this shape, without padding, that holds all of `cuts`."""
    return tuple(
        (min(start for start, _ in along), min(max(stop for _, stop in along), size))
        for along, size in zip(zip(*cuts, strict=True), shape, strict=True)
    )


def _fill(shard: np.ndarray, cut: Sequence[Range], found: np.ndarray, box: Sequence[Range]) -> None:
    """Copies what a shard, which is `cut` of a weight, has of `found`, which is `box` of it."""
    both = [(start, min(stop, end)) for (start, stop), (_, end) in zip(cut, box, strict=True)]
    if any(start >= stop for start, stop in both):
        return
    to, of = (
        tuple(slice(a - low, b - low) for (a, b), (low, _) in zip(both, origin, strict=True))
        for origin in (cut, box)
    )
    shard[to] = found[of]


def _ranges(index: Any, shape: tuple[int, ...]) -> tuple[Range, ...]:
    """Start and stop in each axis."""
    return tuple(cut.indices(size)[:2] for cut, size in zip(index, shape, strict=True))
