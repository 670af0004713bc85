"""Finds a model's files: at a local path, in this package, or on the Hugging Face hub."""

import json
import os
import pathlib
import re
from collections.abc import Sequence

ADAPTER = "adapter_config.json"
SHIPPED = "shipped:"  # begins the names of models that come with this package
_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_MODELS = pathlib.Path(__file__).resolve().parents[1] / "shipped"


class NotFoundError(ValueError):
    """A source that does not exist; the message names the remedy."""


def find(source: str | os.PathLike[str], patterns: Sequence[str]) -> pathlib.Path:
    """Returns the local file or folder of a source; downloads matching files from the hub.

    Args:
        source: local path, owner/name on the hub, or shipped:NAME.
        patterns: patterns of the file names to download, such as "*.json".

    Raises:
        NotFoundError: there is no such path, and the hub cannot be reached or has no such model.
    """
    path, name = pathlib.Path(source).expanduser(), os.fspath(source)
    if name.startswith(SHIPPED):
        return _shipped(name)
    if path.exists():
        return path
    if not _NAME.fullmatch(name) or path.suffix == ".gguf":
        raise NotFoundError(
            f"{name}: no such file or folder; on the hub, models are called owner/name"
        )
    import huggingface_hub  # takes a second to import, and is needed only here

    try:
        return pathlib.Path(huggingface_hub.snapshot_download(name, allow_patterns=list(patterns)))
    except (OSError, ValueError) as error:  # base classes of the hub's errors
        raise NotFoundError(
            f"{name}: no such folder here, and not to be had from the hub ({error}); check the "
            "name and the connection, or download it elsewhere and give its folder"
        ) from error


def _shipped(name: str) -> pathlib.Path:
    """Returns the folder of a model that comes with this package."""
    models = {f"{SHIPPED}{path.name}": path for path in sorted(_MODELS.iterdir())}
    if name not in models:
        raise NotFoundError(f"{name}: no such model; this package ships {', '.join(models)}")
    return models[name]


def adapter(path: pathlib.Path) -> str:
    """Returns the error message for a folder that holds a PEFT adapter; "" for any other path.

    An adapter's weights are changes to another model's weights, so they cannot be loaded as a
    model, neither alone nor beside full weights.
    """
    weights = path.is_dir() and sorted(path.glob("adapter_model*"))
    if not weights and not (path / ADAPTER).is_file():
        return ""
    try:
        config = json.loads((path / ADAPTER).read_bytes())
        kind, base = config.get("peft_type", ""), config.get("base_model_name_or_path", "")
    except (OSError, ValueError, AttributeError):
        kind = base = ""
    file = ADAPTER if (path / ADAPTER).is_file() else weights[0].name if weights else ""
    return (
        f"holds an adapter ({' '.join(filter(None, [file, kind]))}) for "
        f"{base or 'a base model'}, which would be left out: merge it into its base and save that, "
        "with the tokenizer (peft: AutoPeftModelForCausalLM.from_pretrained(...)"
        ".merge_and_unload().save_pretrained(FOLDER)), and name that folder; or, if the base is "
        "meant without it, one that has no adapter files"
    )
