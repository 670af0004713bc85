"""Reads the models that a run has trained from its folder, without changing the folder."""

import os
import pathlib
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath

from star_jax.config.schema import SHAPE
from star_jax.conversion.safetensors import LoadError, read_object
from star_jax.models.config import ComputeConfig, ModelConfig
from star_jax.storage import run_dir

_FIELDS = {"source", "chat", "dtype", *SHAPE}


def find(source: str | os.PathLike[str]) -> pathlib.Path | None:
    """Returns the newest checkpoint of the run `source`, or `source` if it is one; else None.

    Raises:
        LoadError: the run has no model yet.
    """
    path = pathlib.Path(source).expanduser().absolute()
    if path.is_dir() and run_dir.run_of(path):
        return path
    models = pathlib.Path(run_dir.weights(path))
    if not models.is_dir():
        return None
    rounds = [int(each.name) for each in models.iterdir() if each.name.isdigit()]
    if not rounds:
        raise LoadError(f"{models}: holds no model yet; let the run finish its first round")
    return models / str(max(rounds))


def number(source: str) -> str:
    """Returns the number of the checkpoint that `find` returns for a source; "" if it is no run.

    Raises:
        LoadError: the run has no model yet.
    """
    checkpoint = find(source) if source else None
    return checkpoint.name if checkpoint else ""


def pinned(source: str, number: str) -> str:
    """Returns the checkpoint `number` of the run `source`; `source` itself if `number` is "".

    Newer checkpoints that the run may have by now are not considered.
    """
    checkpoint = find(source) if number else None
    return str(checkpoint.with_name(number)) if checkpoint else source


def source(checkpoint: pathlib.Path) -> str:
    """Returns the source of the model that the run started from; "" if it was made in the run.

    Raises:
        LoadError: the run has no config.json, or one of another version.
    """
    return _model(checkpoint)["source"]


def open_config(checkpoint: pathlib.Path) -> ModelConfig:
    """Returns the configuration of a model made in the run, with the vocabulary of `rows`.

    Raises:
        LoadError: the same cases as in `source` and `rows`.
    """
    model = _model(checkpoint)
    shape = {name: model[name] for name in SHAPE}
    return ModelConfig(**shape, vocab=rows(checkpoint), compute=ComputeConfig(model["dtype"]))


def rows(checkpoint: pathlib.Path) -> int:
    """Returns the number of rows of the stored embedding, padding included.

    Raises:
        LoadError: the checkpoint holds no model.
    """
    shapes = _shapes(checkpoint)
    if "embedding.value" not in shapes:
        raise LoadError(f"{checkpoint}: has no embedding.value; it is no model of a run")
    return shapes["embedding.value"][0]


def restore(checkpoint: pathlib.Path, abstract: dict[str, jax.ShapeDtypeStruct]) -> dict[str, Any]:
    """Returns the weights by name, with the types and shardings of `abstract`.

    Raises:
        LoadError: the checkpoint has other names or shapes than `abstract`.
    """
    shapes = _shapes(checkpoint)
    for name in sorted(shapes.keys() ^ abstract.keys()):
        raise LoadError(f"{checkpoint}: {name} is missing or unexpected; config.json is of another")
    for name, leaf in abstract.items():
        if shapes[name] != leaf.shape:
            raise LoadError(
                f"{checkpoint}: {name} has shape {shapes[name]}, config.json says {leaf.shape}"
            )
    return ocp.StandardCheckpointHandler().restore(
        epath.Path(checkpoint / "default"), args=ocp.args.StandardRestore(abstract)
    )


def _model(checkpoint: pathlib.Path) -> dict[str, Any]:
    path = checkpoint.parents[2] / "config.json"
    model = read_object(path).get("model")
    if not isinstance(model, dict) or set(model) != _FIELDS:
        raise LoadError(
            f"{path}: config.model must say {', '.join(sorted(_FIELDS))} and nothing else; the run "
            "is of another version of star_jax: use that one"
        )
    return model


def _shapes(checkpoint: pathlib.Path) -> dict[str, tuple[int, ...]]:
    try:
        tree: Any = ocp.StandardCheckpointHandler().metadata(epath.Path(checkpoint / "default"))
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise LoadError(f"{checkpoint}: not a whole checkpoint ({error}); take another") from error
    return {name: tuple(array.shape) for name, array in tree.items()}
