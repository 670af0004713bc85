"""Each form of file gives its rows as they are spelt there."""

import datetime
import decimal
import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from star_jax.tasks import data_files, values
from star_jax.tasks.data_files import DataError


def parquet(**columns: Any) -> bytes:
    file = io.BytesIO()
    pyarrow.parquet.write_table(pa.table(columns), file)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "rows"),
    [
        ("a.jsonl", b'\xef\xbb\xbf{"a": 1}\r\n\r\n {"a": 2}', [b'{"a": 1}', b"", b'{"a": 2}']),
        ("a.ndjson", b'{"a": 1}', [b'{"a": 1}']),
        ("a.json", b'\xef\xbb\xbf[{"a": 1},\n {"a": NaN}, 5]', [{"a": 1}, {"a": None}, 5]),
        ("a.json", b'{"a": 1}\n{"a": 2}\n', [b'{"a": 1}', b'{"a": 2}', b""]),
        ("a.csv", b"a,b\r\n1,x\r\n", [b"", {"a": "1", "b": "x"}]),
        ("a.csv", b'\xef\xbb\xbfa,b\n"1, 2\n3",""\n\nx,y', [b"", {"a": "1, 2\n3", "b": None}, b"", b"", {"a": "x", "b": "y"}]),
        ("a.tsv", b"a\tb\n1\tx, y", [b"", {"a": "1", "b": "x, y"}]),
        ("a.csv", b"a,b", [b""]),
        ("a.csv", b"", []),
    ],
)  # fmt: skip
def test_rows(name: str, content: bytes, rows: list[Any]):
    assert data_files.read(name, content) == rows


@pytest.mark.parametrize(
    ("cell", "value", "text"),
    [
        ("007", "007", "007"),
        ("1.10", "1.10", "1.10"),
        ("None", "None", "None"),
        ("NA", "NA", "NA"),
        ("true", "true", "true"),
        ("12E4", "12E4", "12E4"),
        ("3e-05", 3e-05, "0.00003"),
        ("6.5E+17", 6.5e17, "650000000000000000"),
        ("NaN", None, ""),
        ("nan", None, ""),
        ("-inf", None, ""),
        ("<NA>", None, ""),
        ("#N/A", None, ""),
        (" ", None, ""),
        ("1e+999", None, ""),
    ],
)
def test_a_cell_of_csv_is_text_unless_only_a_table_writes_so(cell: str, value: object, text: str):
    (_, row) = data_files.read("a.csv", f"a,b\n{cell},x".encode())
    assert row["a"] == value and values.text(row["a"]) == text


def test_a_line_of_csv_with_too_many_cells_is_told_of():
    (_, good, bad) = data_files.read("a.csv", b"a,b\n1,2\n1,2,3")
    assert good == {"a": "1", "b": "2"}
    assert isinstance(bad, ValueError) and "3 cells below the names of 2" in str(bad)


def test_parquet_is_read_by_its_types():
    small, nested = pa.float32(), pa.list_(pa.struct([("x", pa.float16())]))
    columns = {
        "text": ["007"],
        "small": pa.array([0.1], small),
        "nested": pa.array([[{"x": 0.1}]], nested),
        "fixed": pa.array([[0.1, 0.7]], pa.list_(small, 2)),
        "coded": pa.array([0.3], small).dictionary_encode(),
        "exact": pa.array([decimal.Decimal("1.10")]),
        "day": [datetime.date(2031, 1, 9)],
        "missing": [float("nan")],
        "none": pa.array([None], small),
        "json": pa.array(["007"], pa.json_()),
        "object": pa.array(['{"a": 1.50}'], pa.json_()),
    }
    (row,) = data_files.read("a.parquet", parquet(**columns))
    assert values.native(row) == {
        **{"text": "007", "small": 0.1, "nested": [{"x": 0.1}], "fixed": [0.1, 0.7], "coded": 0.3},
        **{"exact": 1.1, "day": "2031-01-09", "missing": None, "none": None},
        **{"json": "007", "object": {"a": 1.5}},
    }


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("d/a.json", b'[{"a": 1},', "d/a.json: .* line 1 column 11"),
        ("a.csv", b"a,b\n\xff,1", "a.csv: .*byte 0xff"),
        ("a.csv", b'a,b\n"1,2', "a.csv: unexpected end"),
        ("a.csv", b"a,a\n1,2", "a.csv: two columns have one name: a, a"),
        ("a.parquet", b"PAR1", "a.parquet: .* mend the file"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(name: str, content: bytes, message: str):
    with pytest.raises(DataError, match=message):
        data_files.read(name, content)
