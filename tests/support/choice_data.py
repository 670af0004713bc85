"""Rows of multiple choice: CommonsenseQA's where they are, and made-up ones."""

import json
import pathlib
from typing import Any

from star_jax.tasks.multiple_choice.commonsense_qa import RATIONALES

COMMONSENSE_QA = pathlib.Path(__file__).parents[3] / "shared/data/commonsense_qa"
WORDS = ("bank", "ice cream", "sea shell", "old town", "jar")


def folder(made_up: pathlib.Path) -> pathlib.Path:
    """CommonsenseQA's folder; where it is not, `made_up` with a small one like it."""
    if COMMONSENSE_QA.exists():
        return COMMONSENSE_QA
    write(made_up, "train", [row(i, id) for i, id in enumerate(RATIONALES)] + rows(20, 400))
    write(made_up, "validation", rows(500, 50))
    return made_up


def write(folder: pathlib.Path, split: str, rows: list[Any]) -> pathlib.Path:
    """The folder, with the rows as its split."""
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / f"{split}.jsonl").write_text(lines)
    return folder


def rows(first: int, count: int) -> list[dict[str, Any]]:
    return [row(i) for i in range(first, first + count)]


def row(i: int, id: str = "") -> dict[str, Any]:
    """The i-th made-up row, in the layout of CommonsenseQA's own files; all questions differ."""
    labelled = [
        {"label": label, "text": f"{word} {i}"} for label, word in zip("ABCDE", WORDS, strict=True)
    ]
    return {
        "id": id or f"row {i}",
        "answerKey": "ABCDE"[i % 5],
        "question": {"stem": f"Where are {i} coins?", "choices": labelled},
    }
