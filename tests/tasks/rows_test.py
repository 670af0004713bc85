import json
import pathlib
import re
from typing import Any

import pytest

from star_jax.tasks import rows
from star_jax.tasks.rows import DataError, Flaw, Row
from star_jax.tasks.task import Problem

GOOD = {"question": "1+1?", "answer": "2"}


def write(path: pathlib.Path, *lines: bytes | dict[str, Any]) -> str:
    texts = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    path.write_bytes(b"\n".join(texts) + b"\n")
    return str(path)


def convert(row: Row) -> Problem | Flaw:
    if not row.values.get("question"):
        return Flaw(row.line, "no question", "empty")
    return Problem(str(row.line), row.values["question"], row.values["answer"], "", "1")


def test_a_file_and_a_folder_have_the_same_rows(tmp_path: pathlib.Path):
    file = write(tmp_path / "train.jsonl", GOOD, {"question": "é?", "answer": "日本"})
    write(tmp_path / "test.jsonl", {"question": "3?", "answer": "3"})
    expected = ([Row(1, GOOD), Row(2, {"question": "é?", "answer": "日本"})], [])
    assert rows.read(file, "train") == expected
    assert rows.read(str(tmp_path), "train", "question", "answer") == expected
    assert rows.read(str(tmp_path), "test") == ([Row(1, {"question": "3?", "answer": "3"})], [])


def test_only_train_must_be_there(tmp_path: pathlib.Path):
    file = write(tmp_path / "train.jsonl", GOOD)
    assert rows.read(file, "test") == ([], [])
    assert rows.read(str(tmp_path), "validation") == ([], [])
    (tmp_path / "train.jsonl").unlink()
    with pytest.raises(DataError, match=r"no file .*train\.jsonl to read. Give a \.jsonl file"):
        rows.read(str(tmp_path), "train")


@pytest.mark.parametrize(
    ("line", "kind", "detail"),
    [
        (b'{"question": "\xff"}', "encoding", "not UTF-8: .*0xff"),
        (b'{"question": "half a pair: \\ud83d"}', "encoding", "surrogates"),
        (b'{"\\ud83d": 1}', "encoding", "surrogates"),
        (b'{"question": "torn', "not JSON", "Unterminated string"),
        (b"[1, 2]", "not JSON", "not an object but .*1, 2"),
        (b"null", "not JSON", "not an object but 'None'"),
        (b"[" * 100_000, "not JSON", "recursion"),
        (b'{"n": ' + b"9" * 5000 + b"}", "not JSON", "limit"),
        (b'[{"question": "1"}]', "not JSON", "not an object but"),
    ],
)
def test_a_line_that_cannot_be_read_is_a_flaw(
    tmp_path: pathlib.Path, line: bytes, kind: str, detail: str
):
    found, (flaw,) = rows.read(write(tmp_path / "a.jsonl", GOOD, line, GOOD), "train", "question")
    assert [row.line for row in found] == [1, 3]
    assert (flaw.line, flaw.kind) == (2, kind)
    assert re.search(detail, flaw.detail)


@pytest.mark.parametrize(
    "text",
    [
        b'\xef\xbb\xbf{"a": 1}\r\n\r\n{"a": "\xe2\x80\xa8"}',  # byte order mark, Windows, no end
        b'{"a": 1}\n\n{"a": "\\u2028"}\n\n\n',
        b' {"a": 1}\n  \n\t{"a": "\\u2028"} ',
    ],
)
def test_white_space_is_no_flaw_and_lines_keep_their_numbers(tmp_path: pathlib.Path, text: bytes):
    (tmp_path / "a.jsonl").write_bytes(text)
    expected = [Row(1, {"a": 1}), Row(3, {"a": "\u2028"})]
    assert rows.read(str(tmp_path / "a.jsonl"), "train") == (expected, [])


@pytest.mark.parametrize(
    ("fields", "missing"),
    [
        (["question", "answer"], None),
        (["asked.stem", "a.b"], None),
        (["asked.choices.x"], "asked.choices.x"),
        (["qestion"], "qestion"),
        (["question.stem"], "question.stem"),
        (["answer", "asked.Stem"], "asked.Stem"),
    ],
)
def test_the_first_row_must_have_the_fields(
    tmp_path: pathlib.Path, fields: list[str], missing: str | None
):
    row = {**GOOD, "asked": {"stem": "?", "choices": []}, "a.b": 1}
    file = write(tmp_path / "a.jsonl", b"torn", row, {})
    if missing is None:
        assert len(rows.read(file, "train", *fields)[0]) == 2
        return
    names = '"question", "answer", "asked", "a.b"'
    with pytest.raises(DataError, match=f'a.jsonl line 2: no "{missing}"; its fields are {names}'):
        rows.read(file, "train", *fields)


@pytest.mark.parametrize(
    ("file", "content", "lines"),
    [
        ("qa.jsonl", b'{"question": "1+1?", "answer": "2"}\n\n{"question": "3?", "answer": NaN}', [1, 3]),
        ("qa.json", b'[{"question": "1+1?", "answer": "2"}, {"question": "3?", "answer": null}]', [1, 2]),
        ("qa.csv", b"question,answer\n1+1?,2\n\n3?,\n", [2, 4]),
        ("QA.TSV", b"question\tanswer\n1+1?\t2\n3?\tNaN", [2, 3]),
    ],
)  # fmt: skip
def test_every_form_of_file_has_the_same_rows(
    tmp_path: pathlib.Path, file: str, content: bytes, lines: list[int]
):
    (tmp_path / file).write_bytes(content)
    (tmp_path / f"train{pathlib.Path(file).suffix.lower()}").write_bytes(content)
    expected = [Row(lines[0], GOOD), Row(lines[1], {"question": "3?", "answer": None})]
    assert rows.read(str(tmp_path / file), "train", "question") == (expected, [])
    assert rows.read(str(tmp_path / file), "test") == ([], [])
    assert rows.read(str(tmp_path), "train") == (expected, [])


def test_of_several_files_of_a_split_json_lines_are_read(tmp_path: pathlib.Path):
    write(tmp_path / "train.csv", b"question,answer", b"csv?,1")
    assert [row.values["question"] for row in rows.read(str(tmp_path), "train")[0]] == ["csv?"]
    write(tmp_path / "train.jsonl", GOOD)
    assert rows.read(str(tmp_path), "train") == ([Row(1, GOOD)], [])


def test_home_is_a_tilde(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "train.jsonl", GOOD)
    for data in ("~", "~/", "~/train.jsonl"):
        assert rows.read(data, "train") == ([Row(1, GOOD)], [])
    with pytest.raises(DataError, match=f"no file {tmp_path}/not.jsonl to read"):
        rows.read("~/not.jsonl", "train")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("", "task.data is empty.* Give a .jsonl file"),
        ("/not/there", "no file /not/there/train.jsonl"),
        ("/not/there.csv", "no file /not/there.csv to read"),
        (
            "/not/there.txt",
            "no file /not/there.txt/train.jsonl.* Give a .jsonl file .or .json, .csv",
        ),
    ],
)
def test_no_data_is_told(data: str, message: str):
    with pytest.raises(DataError, match=message):
        rows.read(data, "train")


def test_a_file_without_rows_is_refused(tmp_path: pathlib.Path):
    with pytest.raises(DataError, match="a.jsonl: it holds no rows"):
        rows.read(write(tmp_path / "a.jsonl", b"", b" "), "train")


@pytest.mark.parametrize(
    ("count", "bad", "passes"),
    [(0, 0.0, True), (1, 0.0, False), (1, 0.01, True), (2, 0.01, False), (100, 1.0, True)],
)
def test_audit_lets_a_share_pass(count: int, bad: float, passes: bool):
    flaws = [Flaw(line, "no answer", "") for line in range(1, count + 1)]
    if passes:
        rows.audit("a.jsonl", 100, flaws, bad)
    else:
        with pytest.raises(DataError, match=f"a.jsonl: {count} of 100 rows cannot be used"):
            rows.audit("a.jsonl", 100, flaws, bad)


def test_audit_shows_kinds_lines_and_the_remedy():
    flaws = [Flaw(line, "no answer", f"empty {line}") for line in range(1, 13)]
    with pytest.raises(DataError) as error:
        rows.audit("a.jsonl", 1000, [*flaws, Flaw(40, "duplicate", "of 3")], 0.01)
    message = str(error.value)
    assert "13 of 1000 rows cannot be used (12 no answer, 1 duplicate)" in message
    assert "task.bad = 0.01 lets at most 10 pass" in message
    assert "  line 10: no answer: empty 10\n  and 3 more\n" in message
    assert "line 11" not in message
    assert message.endswith("or set task.bad = 0.013 to go on without them.")
    rows.audit("a.jsonl", 1000, flaws, 0.013)


def test_problems_are_told_from_flaws_in_the_order_of_lines(tmp_path: pathlib.Path):
    file = write(
        tmp_path / "a.jsonl",
        GOOD,
        {"question": "", "answer": "2"},
        b"torn",
        {"question": " 1+1?\n", "answer": "3"},
        {"question": "2+2?", "answer": "4"},
    )
    found, flaws = rows.problems(file, "train", convert, 0.6, "question")
    assert [problem.id for problem in found] == ["1", "5"]
    kinds = [(flaw.line, flaw.kind) for flaw in flaws]
    assert kinds == [(2, "no question"), (3, "not JSON"), (4, "duplicate")]
    assert flaws[2].detail == "the question of line 1"
    with pytest.raises(DataError, match="a.jsonl: 3 of 5 rows"):
        rows.problems(file, "train", convert, 0.59, "question")
