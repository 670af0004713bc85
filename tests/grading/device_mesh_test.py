"""The grader on one device and on eight."""

import functools
import re

import jax
import numpy as np
import pytest

from star_jax.data.token_bytes import make_token_bytes
from star_jax.data.tokenizer import ByteTokenizer
from star_jax.grading import device
from star_jax.runtime import sharding
from star_jax.tasks.answer_rule import AnswerRule
from toys import eight_devices


@eight_devices
@pytest.mark.parametrize("devices", [1, 8])
@pytest.mark.parametrize("markup", [(), ("a token of many bytes",)])
def test_rows_are_graded_wherever_they_lie(devices: int, markup: tuple[str, ...]):
    said = ["so 12.\n\n3", " $1,200.0", "7", "", "12", "-1.50%", "1/2", "0"]
    tokenizer = ByteTokenizer(markup)
    known = make_token_bytes(tokenizer.token_bytes(), tokenizer.vocab_size)
    tokens, length = np.zeros((8, 16), np.int32), np.zeros((8,), np.int32)
    for i, text in enumerate(said):
        length[i] = len(text)
        tokens[i, : len(text)] = tokenizer.encode(text)
    gold = device.gold(["12", "1200", "8", "1", "12", "-1.5", "2", "0"])
    grid = sharding.make_mesh(devices, 1, 1, devices=jax.devices()[:devices])
    arrays = [sharding.device_put(grid, array, "batch") for array in (tokens, length, *gold)]
    grade = jax.jit(functools.partial(device.grade, AnswerRule("last number"), known, b"\n\n"))
    right, *_ = grade(*arrays)
    assert right.tolist() == [True, True, False, False, True, True, False, True]
    assert right.sharding.is_equivalent_to(arrays[1].sharding, 1)
    program = grade.lower(*arrays).compile().as_text() or ""
    found = re.findall(r"(\S+) (?:all-gather|all-reduce|all-to-all)\S*\(", program)
    # The devices agree on the longest row, where tokens differ in length, and on whether any row
    # has LaTeX in it, in each of the two rooms: numbers and nothing more.
    if devices == 1:
        assert not found
    else:
        assert sorted(found) == (["pred[]", "pred[]", "s32[]"] if markup else ["pred[]"])
