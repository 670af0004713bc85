"""Files of rows: JSON lines, a JSON list, CSV, TSV and Parquet, each row as its file spells it.

Libraries that guess the type of a column turn "007" into 7 and the answer "None" into nothing. So
text stays text here, whatever it looks like. The one exception is CSV: its cells have no type, and
tables write numbers such as 2e-05 and NaN into them.
"""

import csv
import functools
import io
import re
from collections.abc import Callable, Iterator
from typing import Any

from star_jax.tasks import values

_WRITTEN = re.compile(r"-?[0-9]+(?:\.[0-9]+)?[eE][-+][0-9]+")  # as programs write it: never "2e5"
# Missing values as pandas, NumPy, Excel and C write them, in any letter case.
_NO_VALUES = {
    "",
    *"nan -nan +nan <na> nat #n/a #na 1.#qnan 1.#ind -1.#ind".split(),
    *"inf -inf +inf infinity -infinity +infinity".split(),
}
csv.field_size_limit(2**31 - 1)  # a solution may be longer than 128 KiB


class DataError(ValueError):
    """The data cannot be used. The message says where, why, and what to do."""


def read(name: str, content: bytes, reader: Callable[[bytes], Any] | None = None) -> list[Any]:
    """Returns the rows of a file: a mapping, a line of JSON (bytes) or a ValueError each.

    An empty line is b"", so that an index into the list is a line's number.

    Args:
        name: the file's name in messages.
        content: bytes of the whole file.
        reader: function that reads it; None for the one of `READERS` by the ending of `name`.

    Raises:
        DataError: it cannot be read at all.
    """
    reader = reader or next(READERS[end] for end in READERS if name.lower().endswith(end))
    try:
        return list(reader(content))
    except (ValueError, RecursionError, csv.Error, OSError) as error:
        raise DataError(f"{name}: {error}; mend the file") from error


def _json_lines(content: bytes) -> list[Any]:
    """Returns the lines without the white space around them; b"" for an empty line."""
    return [line.strip() for line in _unmarked(content).split(b"\n")]


def of_json(content: bytes) -> list[Any]:
    """Returns the items of a JSON list; a file that is no list is read as JSON lines."""
    content = _unmarked(content)
    return values.parse(content.decode()) if content.lstrip()[:1] == b"[" else _json_lines(content)


def of_csv(content: bytes, separator: str = ",") -> Iterator[Any]:
    """Yields for each line of CSV the row that begins there, or b""; the first has the names."""
    text = io.StringIO(_unmarked(content).decode(), newline="")
    lines = csv.reader(text, delimiter=separator, strict=True)
    names: list[str] = []
    before = 0
    for cells in lines:
        if not cells or not names:
            yield b""
        elif len(cells) == len(names):
            yield dict(zip(names, map(_cell, cells), strict=True))
        else:
            yield ValueError(f"{len(cells)} cells below the names of {len(names)}: {cells}")
        names = names or cells
        if len(set(names)) < len(names):
            raise ValueError(f"two columns have one name: {', '.join(names)}")
        yield from [b""] * (lines.line_num - before - 1)  # a cell may have lines of its own
        before = lines.line_num


def _cell(text: str) -> values.Number | str | None:
    if text.strip().lower() in _NO_VALUES:
        return None
    return values.number(text) if _WRITTEN.fullmatch(text) else text


def _parquet(content: bytes) -> list[Any]:
    import pyarrow.parquet  # a quarter of a second, and only here

    return of_table(pyarrow.parquet.ParquetFile(io.BytesIO(content)).read())


def _unmarked(content: bytes) -> bytes:
    """Removes a byte order mark."""
    return content.removeprefix(b"\xef\xbb\xbf")


READERS: dict[str, Callable[[bytes], Any]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": of_json,
    ".csv": of_csv,
    ".tsv": functools.partial(of_csv, separator="\t"),
    ".parquet": _parquet,
}
"""Readers of a file, by the ending of its name."""


def of_table(table: Any) -> list[dict[str, Any]]:
    """Returns the rows of a table of pyarrow."""
    fields = list(table.schema)
    return [
        {field.name: _printed(row[field.name], field.type) for field in fields}
        for row in table.to_pylist()
    ]


def _printed(value: Any, kind: Any) -> Any:
    """Converts a value of an arrow type: floats as that type prints them, JSON text parsed."""
    import pyarrow as pa

    if isinstance(kind, pa.DictionaryType):
        kind = kind.value_type
    if value is None:
        return None
    if isinstance(kind, pa.StructType):
        return {field.name: _printed(value[field.name], field.type) for field in kind}
    if isinstance(kind, pa.BaseExtensionType) and kind.extension_name == "arrow.json":
        return _parse_json(value)
    if pa.types.is_floating(kind):
        return kind.to_pandas_dtype()(value)
    if hasattr(kind, "value_type") and isinstance(value, list) and not pa.types.is_map(kind):
        return [_printed(inner, kind.value_type) for inner in value]
    return value


def _parse_json(json: str) -> Any:
    """Parses JSON text; returns other text unchanged, as package datasets stores it."""
    try:
        return values.parse(json)
    except ValueError:
        return json
