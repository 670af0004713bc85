"""Opens a model's tokenizer from where it lies, a folder, a GGUF file, the hub; and saves it.

transformers is imported here, and only once there is something to open. No code that comes with a
model is run.
"""

import os
import pathlib
import tempfile
from typing import TYPE_CHECKING, Any

from etils import epath

from star_jax.data import gguf_tokenizer
from star_jax.storage import files, hub
from star_jax.storage.run_dir import run_of

if TYPE_CHECKING:
    import transformers

RUNS = "tokenizer"  # a run's folder of tokenizer files
_CONFIG = "tokenizer_config.json"
_OWN = ("backend", "is_local", "local_files_only", "model_specific_special_tokens")
_PATTERNS = ["*.json", "*.jinja", "tokenizer.model", "merges.txt"]


def open_source(
    source: str | os.PathLike[str],
) -> tuple["transformers.PreTrainedTokenizerFast", list[int]]:
    """The tokenizer, and the ids that end a text for the model besides the tokenizer's own.

    Args:
        source: a folder, a .gguf file, a run or one of its checkpoints, or owner/name on the hub.

    Raises:
        ValueError: there is none, it cannot be read, or it would need remote code; the message
            names the file and the remedy.
    """
    path = hub.find(source, _PATTERNS)
    if path.is_dir():
        return _from_folder(_of_run(path) or path)
    if path.suffix == ".gguf":
        return _from_gguf(path)
    raise ValueError(f"{path}: no folder and no .gguf file, so no tokenizer")


def save(hub_: "transformers.PreTrainedTokenizerFast", folder: epath.PathLike) -> None:
    """Writes a tokenizer's files, which may be opened by transformers 4 as well.

    transformers 5 names a class that 4 does not have, calls a list of tokens what is a mapping
    there, and keeps how it was opened itself. The folder may be a remote one (gs://).
    """
    with tempfile.TemporaryDirectory() as local:
        for path in map(pathlib.Path, hub_.save_pretrained(local)):
            if path.name == _CONFIG:
                said = files.read_json(path)
                said = {key: value for key, value in said.items() if key not in _OWN}
                said["tokenizer_class"] = "PreTrainedTokenizerFast"
                if isinstance(said.get("extra_special_tokens"), list):
                    said["additional_special_tokens"] = said.pop("extra_special_tokens")
                files.write_json(epath.Path(folder) / _CONFIG, said)
            elif path.is_file():
                files.write_atomic(epath.Path(folder) / path.name, path.read_bytes())


def _of_run(path: pathlib.Path) -> pathlib.Path | None:
    """Where the run that `path` is the folder of, or a checkpoint in, keeps its tokenizer."""
    run = run_of(path) or path
    return run / RUNS if (run / RUNS / "tokenizer.json").exists() else None


def _transformers() -> Any:
    """transformers, without its advice on torch, which nothing here needs."""
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    import transformers

    return transformers


def _from_gguf(path: pathlib.Path) -> tuple["transformers.PreTrainedTokenizerFast", list[int]]:
    found = gguf_tokenizer.open_vocabulary(path)
    made = _transformers().PreTrainedTokenizerFast(
        tokenizer_object=found.backend, chat_template=found.template, **found.special
    )
    return made, list(found.ends)


def _from_folder(folder: pathlib.Path) -> tuple["transformers.PreTrainedTokenizerFast", list[int]]:
    """A tokenizer.json is taken as it is; other files are converted by transformers.

    AutoTokenizer would not take it as it is: where tokenizer_config.json names a class such as
    GPT2Tokenizer, transformers 5 makes that class anew from the vocabulary alone, and how the file
    cuts text (SmolLM2's: every digit by itself) is lost.
    """
    library = _transformers()
    whole = (folder / "tokenizer.json").exists()
    make = library.PreTrainedTokenizerFast if whole else library.AutoTokenizer
    try:
        made = make.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # tokenizers raises bare Exceptions
        raise ValueError(
            f"{folder}: no tokenizer can be made of its files ({error}); "
            + (
                hub.adapter(folder)
                or "copy tokenizer.json and tokenizer_config.json of the model into it"
            )
        ) from error
    if not made.is_fast:
        raise ValueError(
            f"{folder}: only a slow tokenizer; copy the model's tokenizer.json into it"
        )
    return made, _ends(folder)


def _ends(folder: pathlib.Path) -> list[int]:
    """The ends of a text that a model names for generation, or else in its config."""
    for name in ("generation_config.json", "config.json"):
        path = folder / name
        found = files.read_json(path).get("eos_token_id") if path.exists() else None
        if found is not None:
            ends = found if isinstance(found, list) else [found]
            if not all(isinstance(id_, int) for id_ in ends):
                raise ValueError(f"{path}: eos_token_id = {found}: must be an id or a list of ids")
            return ends
    return []
