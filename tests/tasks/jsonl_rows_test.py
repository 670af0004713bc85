"""Rows of one's own as their file spells them, from the file to the gold answer."""

import json
import pathlib

import pytest

from star_jax.tasks.jsonl import Jsonl


@pytest.mark.parametrize(
    ("written", "answer"),
    [
        ("4.50", "4.5"),
        ("98765432109876543210.5", "98765432109876543210.5"),
        ("31e-6", "0.000031"),
        ("1e25", "1" + "0" * 25),
        ("1e400", None),
        ("-1e400", None),
        ("NaN", None),
        ("-Infinity", None),
        ('"NaN"', "NaN"),  # a word that somebody wrote
        ('"nan"', "nan"),
    ],
)
def test_an_answer_is_read_as_it_is_written(
    tmp_path: pathlib.Path, written: str, answer: str | None
):
    (tmp_path / "qa.jsonl").write_text(
        f'{{"question": "A?", "answer": {written}, "of": {{"n": {written}}}}}'
    )
    for field in ("answer", "{of.n}"):
        task = Jsonl(str(tmp_path / "qa.jsonl"), answer_field=field, dev=0.0, bad=1.0)
        found = [p.answer for p in task.all_of_train]
        assert found == ([answer] if answer else [])
        assert [flaw.kind for flaw in task.flaws["train"]] == ([] if answer else ["no answer"])


def test_paths_may_begin_at_home(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    row = {"question": "3 + 4?", "rationale": "3 + 4 is 7.", "answer": "7"}
    (tmp_path / "qa").mkdir()
    lines = [json.dumps(row), json.dumps({"question": "A?", "answer": "7"})]
    (tmp_path / "qa/train.jsonl").write_text("\n".join(lines))
    (tmp_path / "shots.jsonl").write_text(lines[0])
    task = Jsonl("~/qa", few_shot_file="~/shots.jsonl", dev=0.0)
    assert [p.question for p in task.few_shot(0, 1)] == ["3 + 4?"]
    assert [p.question for p in task.train(0, 1, 0)] == ["A?"]
