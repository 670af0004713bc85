"""Files of rows: JSON lines, a JSON list, CSV, TSV and Parquet, each row as its file spells it.

Libraries that guess the type of a column turn "007" into 7 and the answer "None" into nothing. So
text is text here, whatever it looks like, with one exception: a cell of CSV cannot say that it is a
number, and tables write numbers such as 2e-05 and NaN into it.
"""

import csv
import functools
import io
import re
from collections.abc import Callable, Iterator
from typing import Any

from star_jax.tasks import values

_WRITTEN = re.compile(r"-?[0-9]+(?:\.[0-9]+)?[eE][-+][0-9]+")  # as programs write it: never "2e5"
# What tables write where there is nothing, in any case: pandas, NumPy, Excel and C.
_NO_VALUES = {
    "",
    *"nan -nan +nan <na> nat #n/a #na 1.#qnan 1.#ind -1.#ind".split(),
    *"inf -inf +inf infinity -infinity +infinity".split(),
}
csv.field_size_limit(2**31 - 1)  # a solution may be longer than 128 KiB


class DataError(ValueError):
    """The data cannot be used. The message says where, why, and what to do."""


def read(name: str, content: bytes, reader: Callable[[bytes], Any] | None = None) -> list[Any]:
    """The rows of a file, each a mapping, a line of JSON (bytes) or what is wrong with it.

    An empty line is b"", so that a place in the list is a line's number.

    Args:
        name: what messages call it.
        content: all of it.
        reader: what reads it; that for the ending of `name` if not given.

    Raises:
        DataError: it cannot be read at all.
    """
    reader = reader or next(READERS[end] for end in READERS if name.lower().endswith(end))
    try:
        return list(reader(content))
    except (ValueError, RecursionError, csv.Error, OSError) as error:
        raise DataError(f"{name}: {error}; mend the file") from error


def _json_lines(content: bytes) -> list[Any]:
    """Its lines, without the white space around them; b"" where there is none."""
    return [line.strip() for line in _unmarked(content).split(b"\n")]


def of_json(content: bytes) -> list[Any]:
    """The items of a JSON list; a file that is none has JSON lines."""
    content = _unmarked(content)
    return values.parse(content.decode()) if content.lstrip()[:1] == b"[" else _json_lines(content)


def of_csv(content: bytes, separator: str = ",") -> Iterator[Any]:
    """For each line of CSV the row that begins there, or b""; the first has the names."""
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
    """Without a byte order mark."""
    return content.removeprefix(b"\xef\xbb\xbf")


READERS: dict[str, Callable[[bytes], Any]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": of_json,
    ".csv": of_csv,
    ".tsv": functools.partial(of_csv, separator="\t"),
    ".parquet": _parquet,
}
"""What reads a file, by the ending of its name."""


def of_table(table: Any) -> list[dict[str, Any]]:
    """The rows of a table of pyarrow."""
    fields = list(table.schema)
    return [
        {field.name: _shown(row[field.name], field.type) for field in fields}
        for row in table.to_pylist()
    ]


def _shown(value: Any, kind: Any) -> Any:
    """A value of an arrow type: floats as they are printed in that type, JSON for what it says."""
    import pyarrow as pa

    if isinstance(kind, pa.DictionaryType):
        kind = kind.value_type
    if value is None:
        return None
    if isinstance(kind, pa.StructType):
        return {field.name: _shown(value[field.name], field.type) for field in kind}
    if isinstance(kind, pa.BaseExtensionType) and kind.extension_name == "arrow.json":
        return _said(value)
    if pa.types.is_floating(kind):
        return kind.to_pandas_dtype()(value)
    if hasattr(kind, "value_type") and isinstance(value, list) and not pa.types.is_map(kind):
        return [_shown(inner, kind.value_type) for inner in value]
    return value


def _said(json: str) -> Any:
    """What a text of JSON says; a text that is none is itself, as datasets stores them."""
    try:
        return values.parse(json)
    except ValueError:
        return json
