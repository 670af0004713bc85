"""Where a model's files lie: as named here, or downloaded from the Hugging Face hub."""

import json
import os
import pathlib
import re
from collections.abc import Sequence

ADAPTER = "adapter_config.json"
_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


class NotFoundError(ValueError):
    """There is nothing of that name. The message says what to do."""


def find(source: str | os.PathLike[str], patterns: Sequence[str]) -> pathlib.Path:
    """The local file or folder of a source; of the hub's, those files that match are fetched.

    Args:
        source: a path, or owner/name on the hub.
        patterns: of the files that are wanted, such as "*.json".

    Raises:
        NotFoundError: it is neither here nor to be had.
    """
    path, name = pathlib.Path(source).expanduser(), os.fspath(source)
    if path.exists():
        return path
    if not _NAME.fullmatch(name) or path.suffix == ".gguf":
        raise NotFoundError(
            f"{name}: no such file or folder; on the hub, models are called owner/name"
        )
    import huggingface_hub  # a second to import, and only here

    try:
        return pathlib.Path(huggingface_hub.snapshot_download(name, allow_patterns=list(patterns)))
    except (OSError, ValueError) as error:  # what the hub's errors are
        raise NotFoundError(
            f"{name}: no such folder here, and not to be had from the hub ({error}); check the "
            "name and the connection, or download it elsewhere and give its folder"
        ) from error


def adapter(path: pathlib.Path) -> str:
    """What there is to say of a folder that holds a PEFT adapter; "" for any other path.

    Its weights are changes to another model's: neither by themselves nor beside the full weights
    are they what a model's own files hold.
    """
    weights = path.is_dir() and sorted(path.glob("adapter_model*"))
    if not weights and not (path / ADAPTER).is_file():
        return ""
    try:
        said = json.loads((path / ADAPTER).read_bytes())
        kind, base = said.get("peft_type", ""), said.get("base_model_name_or_path", "")
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
