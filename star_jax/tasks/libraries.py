"""Reads rows through a library: TensorFlow Datasets ("tfds:") and the Hugging Face hub ("hf:").

The library locates the data. Values are read as the data's files spell them, where files exist.
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

_RANDOM_ACCESS = {"array_record", "parquet"}  # formats that TFDS reads without TensorFlow
_REMEDY = (
    'make it again with file_format="array_record" in another folder, or write its splits as '
    "train.jsonl and so on, and give task.data that folder"
)


def tfds(data: str, split: str) -> list[Any]:
    """Reads the rows of a split of TensorFlow Datasets, in its own fixed order, without TensorFlow.

    Data in the folder is read; missing data is made there first. A class number becomes its name.

    Raises:
        DataError: there is no such data, it is in a format that needs TensorFlow, or the files
            have fewer rows than TFDS promises.
    """
    name, _, folder = data.removeprefix("tfds:").partition("@")
    data_dir = os.path.expanduser(folder) or None
    with _explained(data), _quiet():
        import tensorflow_datasets as tfds
        import tensorflow_datasets.text  # registers more data sets, such as gsm8k

        builder = tfds.builder(name, data_dir=data_dir)
        if not builder.is_prepared():
            builder = tfds.builder(name, data_dir=data_dir, file_format="array_record")
            builder.download_and_prepare()
        formats = {form.value for form in builder.info.available_file_formats()}
        if not formats & _RANDOM_ACCESS:
            raise DataError(
                f"task.data = {data!r}: {builder.data_dir} holds it as {', '.join(formats)}, which "
                f"only TensorFlow reads; {_REMEDY}"
            )
        rows = _pick(data, split, builder.as_data_source())
        promised = builder.info.splits[split].num_examples if rows else 0
        if len(rows) != promised:
            raise DataError(
                f"task.data = {data!r}: the files of {split} in {builder.data_dir} hold "
                f"{len(rows)} of its {promised} rows (TFDS 4.9.10 loses rows as it writes "
                f"Parquet); {_REMEDY}"
            )
        return [_printed(builder.info.features, row) for row in rows]


def hub(data: str, split: str) -> list[Any]:
    """Reads the rows of a split on the Hugging Face hub, or of a local folder.

    JSON and CSV are read from the files' text, because package datasets guesses a column's type
    from most of its values.
    """
    name, _, config = data.removeprefix("hf:").partition(":")
    path = os.path.expanduser(name)
    with _explained(data):
        import datasets  # pyright: ignore[reportMissingImports]  (optional)

        builder = datasets.load_dataset_builder(
            path if os.path.exists(path) else name, config or None
        )
        if reader := _reader(builder, datasets.BuilderConfig):
            manager = datasets.DownloadManager()
            paths = _pick(data, split, manager.download_and_extract(builder.config.data_files))
            files = [pathlib.Path(file) for file in manager.iter_files(paths)]
            contents = [data_files.read(str(file), file.read_bytes(), reader) for file in files]
            return [row for rows in contents for row in rows]
        builder.download_and_prepare()
        table = _pick(data, split, builder.as_dataset().with_format("arrow"))
        return data_files.of_table(table[:]) if len(table) else []


def _reader(builder: Any, base: type) -> Callable[[bytes], list[Any]] | None:
    """Returns the reader of a builder's text files; None for other kinds and for other options."""
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
    """Returns `splits[split]`; [] if `splits`, a mapping, lacks a split other than "train"."""
    if split in splits:
        return splits[split]
    if split == "train":
        raise DataError(
            f"task.data = {data!r}: no split train; it has {', '.join(map(str, splits))}"
        )
    return []


def _printed(feature: Any, value: Any) -> Any:
    """Converts a value of TFDS: class numbers to names (-1 to None), floats to their own type."""
    inner = getattr(feature, "feature", feature)  # the items' feature if it is a sequence
    if isinstance(value, Mapping):
        return {name: _printed(inner[name], under) for name, under in value.items()}
    if isinstance(value, list) or getattr(value, "ndim", 0):
        return [_printed(inner, item) for item in value]
    if hasattr(feature, "int2str"):
        return feature.int2str(int(value)) if value >= 0 else None
    return np.dtype(feature.np_dtype).type(value) if isinstance(value, float) else value


@contextlib.contextmanager
def _explained(data: str) -> Iterator[None]:
    """Turns any error of a library that downloads into a `DataError` with a remedy."""
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
    """Silences the warnings of TFDS about TensorFlow and half-made folders."""
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
"""Readers of a split's rows, by the prefix before the colon in task.data."""
