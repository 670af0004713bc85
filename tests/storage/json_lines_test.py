import pathlib
import re
from typing import Literal

import pytest
from etils import epath

from star_jax.storage import json_lines

FIELDS = {
    "id": str,
    "kind": Literal["a", "b"],
    "many": list[int],
    "share": float,
    "none": int | None,
}
GOOD = '{"id": "x", "kind": "a", "many": [1, 2], "share": 0.5, "none": null}'


def written(folder: pathlib.Path, *lines: str, end: str = "\n") -> epath.Path:
    path = epath.Path(folder) / "lines.jsonl"
    path.write_text("\n".join(lines) + end)
    return path


def test_records_are_read_with_what_a_line_leaves_out(tmp_path: pathlib.Path):
    path = written(tmp_path, GOOD, GOOD.replace(', "share": 0.5', ""))
    first, second = json_lines.read(path, FIELDS, "delete it", {"share": 1.0})
    assert first == {"id": "x", "kind": "a", "many": [1, 2], "share": 0.5, "none": None}
    assert second == first | {"share": 1.0}
    assert json_lines.read(written(tmp_path, end=""), FIELDS, "delete it") == []


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (GOOD[:9], "torn, or not JSON ("),
        ("[]", "not an object but []; delete it"),
        (GOOD.replace("id", "ID"), "unknown field 'ID'; delete it"),
        (GOOD.replace(', "share": 0.5', ""), "no 'share'; delete it"),
        (GOOD.replace("0.5", "1"), "'share' is 1, must be a finite float; delete it"),
        (GOOD.replace("0.5", "NaN"), "'share' is nan, must be a finite float; delete it"),
        (GOOD.replace('"a"', '"c"'), "'kind' is 'c', must be"),
        (GOOD.replace("2]", "true]"), "'many' is [1, True], must be"),
        (GOOD.replace('"x"', "7"), "'id' is 7, must be str; delete it"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: pathlib.Path, line: str, what: str):
    path = written(tmp_path, GOOD, line)
    with pytest.raises(ValueError, match=re.escape(f"lines.jsonl line 2: {what}")):
        json_lines.read(path, FIELDS, "delete it")


def test_a_torn_end_is_named(tmp_path: pathlib.Path):
    path = written(tmp_path, GOOD, GOOD, end="")
    with pytest.raises(ValueError, match="line 2: torn, it has no end; delete it"):
        json_lines.read(path, FIELDS, "delete it")
