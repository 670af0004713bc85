"""The models that a run of ours has trained, read from its folder without touching it."""

import os
import pathlib
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath

from star_jax.conversion.safetensors import LoadError, read_object
from star_jax.models.config import ComputeConfig, ModelConfig
from star_jax.storage import run_dir

_SHAPE = ("layers", "width", "heads", "head_dim", "hidden", "rotary", "context")
_FIELDS = {"source", "chat", "dtype", *_SHAPE}


def find(source: str | os.PathLike[str]) -> pathlib.Path | None:
    """The checkpoint that is meant: a run's newest model, or `source` if it is one.

    Raises:
        LoadError: a run without a model.
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
    """Of the checkpoint that a model's source means, if it is a run; otherwise "".

    Raises:
        LoadError: a run without a model.
    """
    found = find(source) if source else None
    return found.name if found else ""


def pinned(source: str, number: str) -> str:
    """A model's source; of a run the checkpoint of that number, however far it has got since."""
    found = find(source) if number else None
    return str(found.with_name(number)) if found else source


def source(checkpoint: pathlib.Path) -> str:
    """The pretrained model that the run started from; "" for one that it made itself.

    Raises:
        LoadError: there are no settings beside the checkpoint, or they are of another version.
    """
    return _model(checkpoint)["source"]


def open_config(checkpoint: pathlib.Path) -> ModelConfig:
    """The shape of the model that the run made itself, its vocabulary as `rows` has it.

    Raises:
        LoadError: as in `source` and `rows`.
    """
    model = _model(checkpoint)
    shape = {name: model[name] for name in _SHAPE}
    return ModelConfig(**shape, vocab=rows(checkpoint), compute=ComputeConfig(model["dtype"]))


def rows(checkpoint: pathlib.Path) -> int:
    """Rows of the embedding as it is stored, padding included.

    Raises:
        LoadError: the checkpoint holds no model.
    """
    shapes = _shapes(checkpoint)
    if "embedding.value" not in shapes:
        raise LoadError(f"{checkpoint}: has no embedding.value; it is no model of a run")
    return shapes["embedding.value"][0]


def restore(checkpoint: pathlib.Path, abstract: dict[str, jax.ShapeDtypeStruct]) -> dict[str, Any]:
    """The weights by name, with the types and shardings of `abstract`.

    Raises:
        LoadError: the checkpoint's weights are not those of `abstract`.
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
