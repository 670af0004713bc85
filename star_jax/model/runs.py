"""The models that a run of ours has trained, read from its folder without touching it."""

import pathlib
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath

from star_jax.model.config import ModelConfig
from star_jax.model.sources import LoadError, read_object

_ROUNDS = pathlib.PurePath("checkpoints", "rounds")
_FIELDS = ("layers", "width", "heads", "head_dim", "hidden", "rotary", "context", "dtype")


def find(path: pathlib.Path) -> pathlib.Path | None:
    """The checkpoint that is meant: a run's newest model, or `path` if it is one.

    Raises:
        LoadError: a run without a model.
    """
    path = path.absolute()
    if path.is_dir() and path.parent.parts[-2:] == _ROUNDS.parts:
        return path
    folder = path / _ROUNDS
    if not folder.is_dir():
        return None
    rounds = [int(each.name) for each in folder.iterdir() if each.name.isdigit()]
    if not rounds:
        raise LoadError(f"{folder}: holds no model yet; let the run finish its first round")
    return folder / str(max(rounds))


def open_config(checkpoint: pathlib.Path) -> ModelConfig:
    """The shape of a run's model, from its settings; the vocabulary is what the weights have.

    Raises:
        LoadError: there are no settings beside the checkpoint, or they are of another version.
    """
    path = checkpoint.parents[2] / "config.json"
    model = read_object(path).get("model")
    if not isinstance(model, dict) or set(model) != set(_FIELDS):
        raise LoadError(
            f"{path}: config.model must say {', '.join(_FIELDS)} and nothing else; the run is of "
            "another version of star_jax: use that one"
        )
    shapes = _shapes(checkpoint)
    if "embedding.value" not in shapes:
        raise LoadError(f"{checkpoint}: has no embedding.value; it is no model of a run")
    return ModelConfig(vocab=shapes["embedding.value"][0], **model)


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


def _shapes(checkpoint: pathlib.Path) -> dict[str, tuple[int, ...]]:
    try:
        tree: Any = ocp.StandardCheckpointHandler().metadata(epath.Path(checkpoint / "default"))
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise LoadError(f"{checkpoint}: not a whole checkpoint ({error}); take another") from error
    return {name: tuple(array.shape) for name, array in tree.items()}
