"""star_jax/grading/device_text.py; that it reads what the host reads is tested with the grader."""

import functools
import itertools
import re
import sys
from typing import Any

import jax
import numpy as np
import pytest

import smollm2
from star_jax.data.token_bytes import make_token_bytes
from star_jax.grading import device, device_text
from star_jax.grading.grade import grade as host_grade
from star_jax.tasks import Problem
from tests.grading.device_test import BYTEWISE, TASKS, table
from tests.tasks.multiple_choice import text_test


def test_bytes_are_decoded_as_python_does_it():
    """Every mix of bytes at the borders of what UTF-8 allows, four long."""
    edges = b"\x00\x7f\x80\x8f\x90\x9f\xa0\xbf\xc1\xc2\xdf\xe0\xe1\xec\xed\xef\xf0\xf1\xf4\xf5\xff"
    rows = np.array(list(itertools.product(edges, repeat=4)), np.uint8)
    known = make_token_bytes([bytes([byte]) for byte in range(256)], 256)
    length = np.full((len(rows),), 4, np.int32)
    found = jax.jit(functools.partial(device_text.read, token_bytes=known, stop_text=b"", room=4))(
        rows, length
    )
    expected = [row.tobytes().decode(errors="replace") for row in rows]
    got = np.asarray(found.characters)
    assert ["".join(map(chr, row[row >= 0])) for row in got] == expected


def test_white_space_is_that_of_python():
    every = "".join(map(chr, range(sys.maxunicode + 1)))
    assert "".join(re.findall(r"\s", every)) == device_text.SPACES
    assert "".join(char for char in every if char.isspace()) == device_text.SPACES
    breaks = "".join(char for char in every if len(f"a{char}b".splitlines()) == 2)
    assert breaks == device_text.BREAKS


def test_room_is_made_for_what_a_vocabulary_usually_writes():
    assert device_text.rooms(table(BYTEWISE), 40) == (40, 40)  # one byte a token at most
    usual, most = device_text.rooms(table(smollm2.tokenizer()), 100)
    assert (usual, most) == (1352, 8100)


RUNS_ON = [  # the task; a completion; its answer; what the model writes after it
    ("gsm8k", " 4 + 3 = 7\n#### 7", "7", "\nQ: And 5 + 1?\nA: 6\n#### 6"),
    ("marker", "#### a pen", "a pen", "\n#### ink"),
    ("number", " It is 7.", "7", "\nQ: And 5 + 1?\nA: 6."),
    ("choices", f" {text_test.CUE} pen (b).", "b", f"\nSo. {text_test.CUE} ink (a)."),
    ("letter", " It is (b).", "b", "\nQ: And?\nA: (a)"),
    ("arithmetic", "<scratch>\n</scratch>\n8 3", "83", "\nInput:\n1 + 1"),
]


@pytest.mark.parametrize(("name", "completion", "answer", "more"), RUNS_ON)
def test_what_goes_on_after_the_answer_is_neither_graded_nor_kept(
    name: str, completion: str, answer: str, more: str
):
    task = TASKS[name]
    rule, said = task.byte_rule(), (completion, completion + more, completion + more[:1])
    assert rule is not None
    rows = [BYTEWISE.encode(text) for text in said]
    tokens, length = np.zeros((3, 160), np.int32), np.array(list(map(len, rows)), np.int32)
    for i, row in enumerate(rows):
        tokens[i, : len(row)] = row
    gold = device.gold([answer] * 3)
    grade: Any = functools.partial(device.grade, rule, table(BYTEWISE), b"")
    found = grade(tokens, length, *gold)
    assert found.right.tolist() == [True, True, True]
    assert found.length.tolist()[:2] == [len(completion)] * 2
    assert found.ended.tolist()[:2] == [False, True]
    for text, ended in zip(said, found.ended.tolist(), strict=True):
        verdict = host_grade(task, Problem("", "", answer, "", "1"), text, truncated=True)
        assert (verdict.completion == text) != ended
        assert verdict.correct == (not verdict.truncated) == ended
