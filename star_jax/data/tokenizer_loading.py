"""Opens a model's tokenizer from a folder, a GGUF file or the hub, and saves it.

transformers is imported only when a tokenizer is opened. No code that comes with a model is run.
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

RUNS = "tokenizer"  # name of the folder of tokenizer files in a run's folder
_CONFIG = "tokenizer_config.json"
_OWN = ("backend", "is_local", "local_files_only", "model_specific_special_tokens")
_PATTERNS = ["*.json", "*.jinja", "tokenizer.model", "merges.txt"]


def open_source(
    source: str | os.PathLike[str],
) -> tuple["transformers.PreTrainedTokenizerFast", list[int]]:
    """Opens a tokenizer; returns it, and the ids that end a text besides the tokenizer's own.

    Args:
        source: folder, .gguf file, run or one of its checkpoints, or owner/name on the hub.

    Raises:
        ValueError: there is no tokenizer, it cannot be read, or it needs remote code; the message
            names the file and the remedy.
    """
    path = hub.find(source, _PATTERNS)
    if path.is_dir():
        return _from_folder(_of_run(path) or path)
    if path.suffix == ".gguf":
        return _from_gguf(path)
    raise ValueError(f"{path}: no folder and no .gguf file, so no tokenizer")


def save(hub_: "transformers.PreTrainedTokenizerFast", folder: epath.PathLike) -> None:
    """Writes a tokenizer's files so that transformers 4 can open them too.

    transformers 5 writes a class that 4 does not have, a list of tokens under a key that holds a
    mapping in 4, and notes on how the tokenizer was opened: these are changed or removed. The
    folder may be a remote one (gs://).
    """
    with tempfile.TemporaryDirectory() as local:
        for path in map(pathlib.Path, hub_.save_pretrained(local)):
            if path.name == _CONFIG:
                config = files.read_json(path)
                config = {key: value for key, value in config.items() if key not in _OWN}
                config["tokenizer_class"] = "PreTrainedTokenizerFast"
                if isinstance(config.get("extra_special_tokens"), list):
                    config["additional_special_tokens"] = config.pop("extra_special_tokens")
                files.write_json(epath.Path(folder) / _CONFIG, config)
            elif path.is_file():
                files.write_atomic(epath.Path(folder) / path.name, path.read_bytes())


def _of_run(path: pathlib.Path) -> pathlib.Path | None:
    """Returns the tokenizer folder of the run if `path` is a run or its checkpoint; else None."""
    run = run_of(path) or path
    return run / RUNS if (run / RUNS / "tokenizer.json").exists() else None


def _transformers() -> Any:
    """Imports transformers, with its advice on torch turned off, which is not needed."""
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    import transformers

    return transformers


def _from_gguf(path: pathlib.Path) -> tuple["transformers.PreTrainedTokenizerFast", list[int]]:
    vocabulary = gguf_tokenizer.open_vocabulary(path)
    tokenizer = _transformers().PreTrainedTokenizerFast(
        tokenizer_object=vocabulary.backend,
        chat_template=vocabulary.template,
        **vocabulary.special,
    )
    return tokenizer, list(vocabulary.ends)


def _from_folder(folder: pathlib.Path) -> tuple["transformers.PreTrainedTokenizerFast", list[int]]:
    """Opens a folder's tokenizer.json unchanged; other files are converted by transformers.

    AutoTokenizer would change it: if tokenizer_config.json names a class such as GPT2Tokenizer,
    transformers 5 builds that class from the vocabulary alone. The file's own rule for splitting
    text (SmolLM2's: every digit by itself) is then lost.
    """
    library = _transformers()
    whole = (folder / "tokenizer.json").exists()
    kind = library.PreTrainedTokenizerFast if whole else library.AutoTokenizer
    try:
        tokenizer = kind.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # tokenizers raises bare Exceptions
        raise ValueError(
            f"{folder}: no tokenizer can be made of its files ({error}); "
            + (
                hub.adapter(folder)
                or "copy tokenizer.json and tokenizer_config.json of the model into it"
            )
        ) from error
    if not tokenizer.is_fast:
        raise ValueError(
            f"{folder}: only a slow tokenizer; copy the model's tokenizer.json into it"
        )
    return tokenizer, _ends(folder)


def _ends(folder: pathlib.Path) -> list[int]:
    """Returns the eos_token_id values of generation_config.json, or else of config.json."""
    for name in ("generation_config.json", "config.json"):
        path = folder / name
        value = files.read_json(path).get("eos_token_id") if path.exists() else None
        if value is not None:
            ends = value if isinstance(value, list) else [value]
            if not all(isinstance(id_, int) for id_ in ends):
                raise ValueError(f"{path}: eos_token_id = {value}: must be an id or a list of ids")
            return ends
    return []
