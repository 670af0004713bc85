"""What TFDS and the hub have, as its files spell it; both libraries are real, only the net is not."""

import datetime
import decimal
import json
import pathlib
import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

import texts
from star_jax.tasks import rows, values
from star_jax.tasks.jsonl import Jsonl
from star_jax.tasks.multiple_choice.science import Ai2Arc, OpenBookQA
from star_jax.tasks.rows import DataError, Row

Make = Callable[..., str]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Has TFDS make a data set "toy"; gives its task.data."""
    import tensorflow_datasets as tfds

    class Toy(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")
        of: tuple[Any, Any]

        def _info(self) -> tfds.core.DatasetInfo:
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(self.of[0])
            )

        def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
            return {name: self._generate_examples(of) for name, of in self.of[1].items()}

        def _generate_examples(self, examples: list[Any]) -> Any:
            yield from enumerate(examples)

    def make(form: str, features: dict[str, Any], **splits: list[Any]) -> str:
        folder, Toy.of = tmp_path_factory.mktemp("tfds"), (features, splits)
        Toy(data_dir=str(folder), file_format=form).download_and_prepare()
        return f"tfds:toy@{folder}"

    return make


@pytest.fixture(scope="module")
def features() -> dict[str, Any]:
    from tensorflow_datasets import features

    text, letters = features.Text(), features.ClassLabel(names=["A", "B"])
    return {
        **{"question": text, "answerKey": letters, "size": features.Scalar(np.float32)},
        "choices": features.Sequence({"text": text, "label": letters}),
    }


def example(i: int, **changes: Any) -> dict[str, Any]:
    choices = [{"text": "bänk", "label": "A"}, {"text": "fish", "label": "B"}]
    asked = {"question": f"{i}é?", "answerKey": "B", "size": i / 10, "choices": choices}
    return {**asked, **changes}


@pytest.fixture(scope="module")
def prepared(make: Make, features: dict[str, Any]) -> str:
    train = [example(1), example(2), example(3, question=b"\xff"), example(4, size=np.nan)]
    return make("array_record", features, train=train, test=[example(5)])


def test_tfds_gives_plain_values(prepared: str):
    found, flaws = rows.read(prepared, "train", "question", "choices.text")
    assert [flaw.kind for flaw in flaws] == ["encoding"]
    assert {row.line for row in found} | {flaws[0].line} == {1, 2, 3, 4}
    by_question = {row.values["question"]: row.values for row in found}
    assert by_question["1é?"] == {
        **{"question": "1é?", "answerKey": "B", "size": 0.1},
        "choices": {"text": ["bänk", "fish"], "label": ["A", "B"]},
    }
    assert by_question["4é?"]["size"] is None
    assert rows.read(prepared, "train") == (found, flaws)  # the order is fixed
    assert len(rows.read(prepared, "test")[0]) == 1
    assert rows.read(prepared, "validation") == ([], [])


def test_home_is_a_tilde(prepared: str, monkeypatch: pytest.MonkeyPatch):
    folder = pathlib.Path(prepared.partition("@")[2])
    monkeypatch.setenv("HOME", str(folder.parent))
    assert len(rows.read(f"tfds:toy@~/{folder.name}", "test")[0]) == 1


@pytest.mark.parametrize("names", ["AB", "12", "21"])
def test_a_class_is_its_name_whatever_it_is_called(make: Make, names: str):
    """A number from 0 beside labels that are numbers would be another choice's."""
    from tensorflow_datasets import features

    text, key = features.Text(), features.ClassLabel(names=list(names))
    texts = features.Sequence(text)
    of = {"question": text, "answerKey": key, "choices": {"text": texts, "label": texts}}
    choices = {"text": ["bank", "fish"], "label": list(names)}
    row = {"question": "Where is gold?", "answerKey": names[1], "choices": choices}
    data = make("array_record", of, train=[row])
    (problem,) = Ai2Arc(data, dev=0.0).train(0, 1, 0)
    assert problem.answer == "b" and problem.choices == ("bank", "fish")


def test_openbookqa_of_tfds(make: Make):
    from tensorflow_datasets import features

    text, key = features.Text(), features.ClassLabel(names=list("ABCD"))
    asked = {"stem": "Where is gold?"} | {f"choice_{x}": f"place {x}" for x in "ABCD"}
    of = {"question": dict.fromkeys(asked, text), "answerKey": key}
    data = make("array_record", of, train=[{"question": asked, "answerKey": "C"}])
    (problem,) = OpenBookQA(data, dev=0.0).train(0, 1, 0)
    assert problem.answer == "c" and problem.choices[2] == "place C"


def test_tfds_in_parquet_is_read_where_it_is_whole(make: Make, features: dict[str, Any]):
    data = make("parquet", features, train=[example(i) for i in range(90)], test=[example(95)])
    found, flaws = rows.read(data, "train")
    assert len(found) == 90 and not flaws
    assert {row.values["question"] for row in found} == {f"{i}é?" for i in range(90)}
    assert found[0].values["answerKey"] == "B" and len(rows.read(data, "test")[0]) == 1


def test_tfds_with_fewer_rows_than_it_says_is_refused(make: Make, features: dict[str, Any]):
    """Its writer of Parquet takes 100 examples, then leaves out 100, 200, ... before each next."""
    data = make("parquet", features, train=[example(i) for i in range(230)], test=[example(1)])
    message = 'the files of train in .*toy.* hold 130 of its 230 rows.*"array_record"'
    with pytest.raises(DataError, match=message):
        rows.read(data, "train")
    assert len(rows.read(data, "test")[0]) == 1


def test_tfds_in_a_format_of_tensorflow_is_refused_with_the_remedy(prepared: str):
    folder = pathlib.Path(prepared.partition("@")[2])
    copy = folder.parent / "tfrecord/toy/1.0.0"
    copy.mkdir(parents=True)
    for file in (folder / "toy/1.0.0").iterdir():
        name = file.name.replace("array_record", "tfrecord")
        content = file.read_bytes()
        if file.suffix == ".json":
            content = content.replace(b"array_record", b"tfrecord")
        (copy / name).write_bytes(content)
    message = (
        r"1\.0\.0 holds it as tfrecord, which only TensorFlow reads; .*array_record.*train\.jsonl"
    )
    with pytest.raises(DataError, match=message):
        rows.read(f"tfds:toy@{copy.parents[1]}", "train")


def test_tfds_needs_no_tensorflow_and_is_quiet(prepared: str, capfd: pytest.CaptureFixture[str]):
    rows.read(prepared, "train")
    assert "tensorflow" not in sys.modules
    assert capfd.readouterr() == ("", "")


def test_tfds_makes_gsm8k_from_its_files(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
    """All but the download is done for real: TFDS knows the name, and writes and reads its files."""
    from tensorflow_datasets.core import download

    pairs = zip(texts.questions(20), texts.solutions(20), strict=True)
    lines = [{"question": question, "answer": answer} for question, answer in pairs]
    file = tmp_path / "downloaded.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    monkeypatch.setattr(
        download.DownloadManager,
        "download_and_extract",
        lambda self, urls: dict.fromkeys(("train", "test"), str(file)),
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
    def fail(*args: str | None) -> None:
        raise raised

    module = types.ModuleType("datasets")
    setattr(module, "load_dataset_builder", fail)  # noqa: B010  (the type has no such attribute)
    monkeypatch.setitem(sys.modules, "datasets", module)
    with pytest.raises(DataError, match=f"task.data = 'hf:a/b': {message}"):
        rows.read("hf:a/b", "train")


@pytest.fixture
def hub(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A folder that package datasets opens in the place of one on the hub."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "DOWNLOADED_DATASETS_PATH", tmp_path / "cache/downloads")
    monkeypatch.setattr(datasets.config, "EXTRACTED_DATASETS_PATH", tmp_path / "cache/extracted")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "qa").mkdir()
    return tmp_path / "qa"


WRITTEN = [
    "007",
    "NaN",
    "true",
    "7.10",
    "Paris",
    "[1]",
    "null",
]  # texts that look like other things


def test_texts_of_the_hub_stay_texts_in_a_column_of_several_types(hub: pathlib.Path):
    answers = [*WRITTEN, 5, 1.50, None, {"a": 1.5}]
    lines = [{"question": f"{i}?", "answer": answer} for i, answer in enumerate(answers)]
    (hub / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found, flaws = rows.read(f"hf:{hub}", "train", "question")
    assert ([row.values["answer"] for row in found], flaws) == (answers, [])
    (hub / "train.jsonl").rename(hub / "train.json")
    (hub / "train.json").write_text(json.dumps(lines))
    assert [row.values["answer"] for row in rows.read("hf:~/qa", "train")[0]] == answers
    assert rows.read("hf:~/qa", "test") == ([], [])


@pytest.mark.parametrize(("ending", "separator"), [("csv", ","), ("tsv", "\t")])
def test_texts_of_the_hub_stay_texts_in_csv(hub: pathlib.Path, ending: str, separator: str):
    lines = ["question,answer", *(f"{i}?,{word}" for i, word in enumerate(WRITTEN)), "x?,1e+16"]
    (hub / f"train.{ending}").write_text("\n".join(lines).replace(",", separator))
    found = [row.values["answer"] for row in rows.read(f"hf:{hub}", "train")[0]]
    assert found == [word if word != "NaN" else None for word in WRITTEN] + [1e16]


def test_the_hub_s_own_options_for_csv_hold(hub: pathlib.Path):
    (hub / "data.csv").write_text("question;answer\n1?;007\n")
    head = "---\nconfigs:\n- config_name: mine\n  data_files: data.csv\n  sep: ';'\n---\n"
    (hub / "README.md").write_text(head)
    assert rows.read(f"hf:{hub}:mine", "train") == (
        [Row(2, {"question": "1?", "answer": "007"})],
        [],
    )
    (hub / "README.md").write_text(
        head.replace("sep", "skiprows: 1\n  names: [question, answer]\n  sep")
    )
    assert rows.read(f"hf:{hub}:mine", "train")[0][0].values["question"] == "1?"


def test_types_of_the_hub_are_written_as_json_would(hub: pathlib.Path):
    answers = {
        "small": (pa.array([0.1, None], pa.float32()), "0.1"),
        "exact": (pa.array([decimal.Decimal("12.50"), None]), "12.5"),
        "tiny": (pa.array([1e-05, float("nan")]), "0.00001"),
        "day": (pa.array([datetime.date(2031, 1, 9), None]), "2031-01-09"),
        "time": (pa.array([datetime.datetime(2031, 1, 9, 8), None], pa.timestamp("ns")), "2031-01-09T08:00:00"),
        "true": (pa.array([True, None]), "true"),
    }  # fmt: skip
    columns = {name: column for name, (column, _) in answers.items()}
    table = pa.table({"question": ["1?", "2?"], **columns})
    pyarrow.parquet.write_table(table, hub / "train.parquet")
    for data in (f"hf:{hub}", str(hub), str(hub / "train.parquet")):
        first, second = rows.read(data, "train")[0]
        for name, (_, text) in answers.items():
            assert values.text(first.values[name]) == text
            assert second.values[name] is None
            task = Jsonl(data, answer_field=name, dev=0.0, bad=0.5)
            assert [problem.answer for problem in task.train(0, 1, 0)] == [text]
            assert [(flaw.line, flaw.kind) for flaw in task.flaws["train"]] == [(2, "no answer")]


def test_the_hub_without_a_training_split_is_refused(hub: pathlib.Path):
    (hub / "test.jsonl").write_text('{"question": "1?", "answer": "1"}\n')
    with pytest.raises(DataError, match="no split train; it has test"):
        rows.read(f"hf:{hub}", "train")
    with pytest.raises(DataError, match="task.data = 'hf:~/none': "):
        rows.read("hf:~/none", "train")
