import json
import pathlib
import re
import sys
import types
from typing import Any

import numpy as np
import pytest

import texts
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
    ("data", "message"),
    [("", "task.data is empty.* Give a .jsonl file"), ("/not/there", "no file /not/there/train")],
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


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder with a data set "toy" that TFDS made."""
    import tensorflow_datasets as tfds

    class Toy(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self) -> tfds.core.DatasetInfo:
            text = tfds.features.Text()
            features = {
                "question": text,
                "answer": text,
                "label": tfds.features.ClassLabel(names=["A", "B"]),
                "choices": tfds.features.Sequence({"text": text, "label": text}),
                "size": tfds.features.Scalar(np.float32),
            }
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
            return {"train": self._generate_examples(4), "test": self._generate_examples(1)}

        def _generate_examples(self, count: int) -> Any:
            choices = [{"text": "bänk", "label": "A"}, {"text": "fish", "label": "B"}]
            for i in range(count):
                broken = b"\xff" if i == 3 else f"{i}é?"
                yield (
                    i,
                    {
                        **{"question": broken, "answer": str(i), "label": "B"},
                        **{"choices": choices, "size": 0.5},
                    },
                )

    folder = tmp_path_factory.mktemp("tfds")
    Toy(data_dir=str(folder), file_format="array_record").download_and_prepare()
    return folder


def test_tfds_gives_plain_values(prepared: pathlib.Path):
    found, flaws = rows.read(f"tfds:toy@{prepared}", "train", "question", "choices.text")
    assert [flaw.kind for flaw in flaws] == ["encoding"]
    assert {row.line for row in found} | {flaws[0].line} == {1, 2, 3, 4}
    by_answer = {row.values["answer"]: row.values for row in found}
    assert by_answer["2"] == {
        **{"question": "2é?", "answer": "2", "label": 1, "size": 0.5},
        "choices": {"text": ["bänk", "fish"], "label": ["A", "B"]},
    }
    assert type(by_answer["2"]["label"]) is int
    assert rows.read(f"tfds:toy@{prepared}", "train") == (found, flaws)  # the order is fixed
    assert len(rows.read(f"tfds:toy@{prepared}", "test")[0]) == 1
    assert rows.read(f"tfds:toy@{prepared}", "validation") == ([], [])


def test_tfds_needs_no_tensorflow_and_is_quiet(
    prepared: pathlib.Path, capfd: pytest.CaptureFixture[str]
):
    rows.read(f"tfds:toy@{prepared}", "train")
    assert "tensorflow" not in sys.modules
    assert capfd.readouterr() == ("", "")


def test_tfds_makes_gsm8k_from_its_files(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
    """All but the download is done for real: TFDS knows the name, and writes and reads its files."""
    from tensorflow_datasets.core import download

    pairs = zip(texts.questions(20), texts.solutions(20), strict=True)
    lines = [{"question": question, "answer": answer} for question, answer in pairs]
    file = write(tmp_path / "downloaded.jsonl", *lines)
    monkeypatch.setattr(
        download.DownloadManager,
        "download_and_extract",
        lambda self, urls: dict.fromkeys(("train", "test"), file),
    )
    data = f"tfds:gsm8k@{tmp_path / 'made'}"
    found, flaws = rows.read(data, "train", "question", "answer")
    assert not flaws and "tensorflow" not in sys.modules
    values = [{name: row.values[name] for name in ("question", "answer")} for row in found]
    assert sorted(values, key=str) == sorted(lines, key=str)


def test_tfds_without_the_data_set_says_what_to_do(tmp_path: pathlib.Path):
    with pytest.raises(DataError, match=r"task.data = 'tfds:nonesuch@.*not found.* the folder"):
        rows.read(f"tfds:nonesuch@{tmp_path}", "train")


def test_the_hub_needs_a_package(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "datasets", None)  # as if it were not installed
    with pytest.raises(DataError, match="task.data = 'hf:a/b': pip install datasets"):
        rows.read("hf:a/b", "train")


def _hub(monkeypatch: pytest.MonkeyPatch, load_dataset: Any) -> None:
    """Puts a stand-in for package datasets, which is optional, in its place."""
    module = types.ModuleType("datasets")
    setattr(module, "load_dataset", load_dataset)  # noqa: B010  (the type has no such attribute)
    monkeypatch.setitem(sys.modules, "datasets", module)


@pytest.mark.parametrize(
    ("data", "asked"),
    [("hf:openai/gsm8k:main", ("openai/gsm8k", "main")), ("hf:a/b", ("a/b", None))],
)
def test_the_hub_gives_rows(monkeypatch: pytest.MonkeyPatch, data: str, asked: tuple[str, str]):
    calls = []

    def load_dataset(*args: str | None) -> dict[str, list[dict[str, str]]]:
        calls.append(args)
        return {"train": [GOOD, GOOD]}

    _hub(monkeypatch, load_dataset)
    assert rows.read(data, "train", "question") == ([Row(1, GOOD), Row(2, GOOD)], [])
    assert rows.read(data, "test") == ([], [])
    assert calls == [asked, asked]
    with pytest.raises(DataError, match=f'{data}, train line 1: no "qestion"'):
        rows.read(data, "train", "qestion")


@pytest.mark.parametrize(
    ("raised", "message"),
    [
        (ConnectionError("no route\nto host"), r"no route \(ConnectionError\).* Without a network"),
        (ModuleNotFoundError("No module named 'x.y'", name="x.y"), "pip install x.y"),
        (ModuleNotFoundError("writing: no x"), "writing: no x .ModuleNotFoundError."),
    ],
)
def test_a_library_that_fails_is_explained(
    monkeypatch: pytest.MonkeyPatch, raised: Exception, message: str
):
    def load_dataset(*args: str | None) -> None:
        raise raised

    _hub(monkeypatch, load_dataset)
    with pytest.raises(DataError, match=f"task.data = 'hf:a/b': {message}"):
        rows.read("hf:a/b", "train")


def test_the_hub_without_a_training_split_is_refused(monkeypatch: pytest.MonkeyPatch):
    _hub(monkeypatch, lambda *args: {"test": [GOOD], "dev": []})
    with pytest.raises(DataError, match="no split train; it has test, dev"):
        rows.read("hf:a/b", "train")
