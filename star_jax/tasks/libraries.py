"""Rows that a library finds: TensorFlow Datasets ("tfds:") and the Hugging Face hub ("hf:").

They say where the data is; what it says is read as its files spell it, as far as there are files.
"""

import contextlib
import dataclasses
import functools
import os
import pathlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from star_jax.tasks import data_files
from star_jax.tasks.data_files import DataError

_RANDOM_ACCESS = {"array_record", "parquet"}  # what TFDS reads without TensorFlow
_REMEDY = (
    'make it again with file_format="array_record" in another folder, or write its splits as '
    "train.jsonl and so on, and give task.data that folder"
)


def tfds(data: str, split: str) -> list[Any]:
    """The rows of a split of TensorFlow Datasets, in its own fixed order; without TensorFlow.

    What is in the folder is read, else it is made there. The number of a class becomes its name.

    Raises:
        DataError: there is no such data, it is in a format that needs TensorFlow, or the files
            have fewer rows than TFDS says there are.
    """
    name, _, folder = data.removeprefix("tfds:").partition("@")
    place = os.path.expanduser(folder) or None
    with _explained(data), _quiet():
        import tensorflow_datasets as tfds
        import tensorflow_datasets.text  # some data sets, gsm8k one, are only then known

        builder = tfds.builder(name, data_dir=place)
        if not builder.is_prepared():
            builder = tfds.builder(name, data_dir=place, file_format="array_record")
            builder.download_and_prepare()
        formats = {form.value for form in builder.info.available_file_formats()}
        if not formats & _RANDOM_ACCESS:
            raise DataError(
                f"task.data = {data!r}: {builder.data_dir} holds it as {', '.join(formats)}, which "
                f"only TensorFlow reads; {_REMEDY}"
            )
        found = _pick(data, split, builder.as_data_source())
        promised = builder.info.splits[split].num_examples if found else 0
        if len(found) != promised:
            raise DataError(
                f"task.data = {data!r}: the files of {split} in {builder.data_dir} hold "
                f"{len(found)} of its {promised} rows (TFDS 4.9.10 loses rows as it writes "
                f"Parquet); {_REMEDY}"
            )
        return [_shown(builder.info.features, row) for row in found]


def hub(data: str, split: str) -> list[Any]:
    """The rows of a split on the Hugging Face hub, or of a folder here.

    JSON and CSV are read from the files' text: package datasets would give a column the type that
    most of its values look like.
    """
    name, _, config = data.removeprefix("hf:").partition(":")
    here = os.path.expanduser(name)
    with _explained(data):
        import datasets  # pyright: ignore[reportMissingImports]  (optional)

        builder = datasets.load_dataset_builder(
            here if os.path.exists(here) else name, config or None
        )
        if reader := _reader(builder, datasets.BuilderConfig):
            manager = datasets.DownloadManager()
            paths = _pick(data, split, manager.download_and_extract(builder.config.data_files))
            files = [pathlib.Path(file) for file in manager.iter_files(paths)]
            found = [data_files.read(str(file), file.read_bytes(), reader) for file in files]
            return [row for rows in found for row in rows]
        builder.download_and_prepare()
        table = _pick(data, split, builder.as_dataset().with_format("arrow"))
        return data_files.of_table(table[:]) if len(table) else []


def _reader(builder: Any, base: type) -> Callable[[bytes], list[Any]] | None:
    """What reads the text of a builder's files; None if it has another kind, or other options."""
    config, common = builder.config, {field.name for field in dataclasses.fields(base)}
    own = {field.name: field.default for field in dataclasses.fields(config)}
    changed = {name for name in own.keys() - common if getattr(config, name) != own[name]}
    if changed - {"features", "sep", "delimiter"}:
        return None
    readers = {
        "json": data_files.of_json,
        "csv": functools.partial(data_files.of_csv, separator=getattr(config, "sep", "")),
    }
    return readers.get(type(builder).__module__.rpartition(".")[2])


def _pick(data: str, split: str, splits: Any) -> Any:
    """The one of `splits` (a mapping); [] if it is not there."""
    if split in splits:
        return splits[split]
    if split == "train":
        raise DataError(
            f"task.data = {data!r}: no split train; it has {', '.join(map(str, splits))}"
        )
    return []


def _shown(feature: Any, value: Any) -> Any:
    """A value of TFDS with names for class numbers, -1 being none, and floats in their own type."""
    inner = getattr(feature, "feature", feature)  # of a sequence
    if isinstance(value, Mapping):
        return {name: _shown(inner[name], under) for name, under in value.items()}
    if isinstance(value, list) or getattr(value, "ndim", 0):
        return [_shown(inner, one) for one in value]
    if hasattr(feature, "int2str"):
        return feature.int2str(int(value)) if value >= 0 else None
    return np.dtype(feature.np_dtype).type(value) if isinstance(value, float) else value


@contextlib.contextmanager
def _explained(data: str) -> Iterator[None]:
    """Says what to do about whatever goes wrong in a library that downloads."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name:
            raise DataError(f"task.data = {data!r}: pip install {error.name}") from error
        raise DataError(
            f"task.data = {data!r}: {str(error).partition(chr(10))[0]} ({type(error).__name__}). "
            "Check the name. Without a network, download the files where there is one, and give "
            "task.data the folder with train.jsonl"
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the warnings of TFDS, about TensorFlow and half-made folders, from the user."""
    from absl import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)


SOURCES: dict[str, Callable[[str, str], list[Any]]] = {"tfds": tfds, "hf": hub}
"""What reads the rows of a split, by what stands before the colon in task.data."""
