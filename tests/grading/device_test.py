"""star_jax/grading/device.py, held against the host: `Context.text`, then `grading.grade`."""

import dataclasses
import functools
import json
import random
import types
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import sentencepiece_toys
import smollm2
import texts
from star_jax.data.token_bytes import TokenBytes, make_token_bytes
from star_jax.data.tokenizer import ByteTokenizer, Tokenizer
from star_jax.grading import device, device_text
from star_jax.grading.grade import grade as host_grade
from star_jax.star.build import Run
from star_jax.tasks import Problem, Task
from star_jax.tasks.answer_rule import AnswerRule, Ending
from star_jax.tasks.arithmetic import Arithmetic
from star_jax.tasks.gsm8k import GSM8K
from star_jax.tasks.jsonl import Jsonl
from star_jax.tasks.multiple_choice.commonsense_qa import RATIONALES, CommonsenseQA
from tests.tasks import gsm8k_test, jsonl_test, number_text_test
from tests.tasks.multiple_choice import text_test

ROWS, ANSWER = 256, 160
SIZES = (40, 160, 2592)  # of rows, in tokens and in characters: few shapes, each compiled once
TASKS: dict[str, Task] = {
    "arithmetic": Arithmetic(),
    "gsm8k": GSM8K("-"),
    "choices": CommonsenseQA("-"),
    "marker": Jsonl("-"),
    "odd marker": Jsonl("-", pattern=" 1\ufffd"),
    "number": Jsonl("-", rule="number"),
    "letter": Jsonl("-", rule="letter"),
}
NUMBERS = [
    *"0123456789.,/:^'_-+eExA%$€− \n",
    *("12", "345", "000", "1,234", "1.5", ".5", "1e-5", "-$5", "$ 5", "7.00", "½", "²", "٣", "½"),
]
LATEX = [r"\frac{", r"\text{", r"\,", "{,}", r"\boxed{", "}", "^{", r"\$", "\\", " 1/2", " 000"]
MORE = [
    "\n",
    "\nQ: ",
    "\nQ:",
    "\nUser:",
    "\n#### ",
    "Q:",
    "Step ",
    "７",
    "(b).\n",
    "(a) \n",
]  # what goes on after an answer
SPACES = ["\t", "\x0b", "\x1c", "\x1f", "\x85", "\xa0", "\u2028", "\u3000", "\u200b", "\r\n", "  "]
LETTERS = [*"abcdeABZ().:", "(a)", "(b)", "(b)", "(b).", "(C)", "\u00df", "answer", " ", "\n"]
WORDS = [
    "The",
    "Hague",
    "yes",
    " ",
    "  ",
    "\n",
    "é",
    "日本",
    "👩‍👧",
    "\ufffd",
    "7",
    "7.",
    "%",
    "\0",
]
PIECES = {  # what the texts for a task are made of
    "arithmetic": [
        "</scratch>\n",
        "</scratch>",
        "scratch>\n",
        *"0012389  \n" * 3,
        "8 3",
        "٣",
        *SPACES,
    ],
    "gsm8k": ["#### ", "#### ", "####", "#", " ", *NUMBERS, *SPACES, *MORE, *LATEX],
    "choices": [
        *(text_test.CUE, "Therefore, the ", "answer is"),
        *(*["(b)"] * 9, *LETTERS, *SPACES, *MORE),
    ],
    "marker": ["####", "#### ", "#", *NUMBERS, *WORDS * 2, *SPACES, *MORE, *LATEX],
    "odd marker": [" 1\ufffd", " 1", "1", "\ufffd", *NUMBERS, *WORDS, *SPACES, *MORE],
    "number": [*NUMBERS, *SPACES, *MORE, *LATEX],
    "letter": [text_test.CUE, *LETTERS, *WORDS, *SPACES, *MORE],
}
assert PIECES.keys() == TASKS.keys()


@functools.cache
def table(tokenizer: Tokenizer) -> TokenBytes:
    return make_token_bytes(tokenizer.token_bytes(), tokenizer.vocab_size + 3)


@functools.partial(jax.jit, static_argnames=("tokenizer", "stop", "ending"))
def read(
    tokens: Any, length: Any, tokenizer: Tokenizer, stop: str, ending: Ending
) -> device_text.Text:
    known = table(tokenizer)
    room = device_text.rooms(known, tokens.shape[1])[1]
    return device_text.read(tokens, length, known, stop.encode(), room, ending)


@functools.partial(jax.jit, static_argnames="rule")
def correct(rule: AnswerRule, *args: Any) -> jax.Array:
    return device.correct(rule, *args)


def written(
    rows: Sequence[list[int]], tokenizer: Tokenizer, stop: str, ending: Ending
) -> tuple[list[str], device_text.Text]:
    """What rows of tokens say, by the host and by the device. Padding is made of real tokens."""
    tokens = np.full((ROWS, size_for(map(len, rows))), tokenizer.vocab_size - 1, np.int32)
    length = np.zeros((ROWS,), np.int32)
    for i, row in enumerate(rows):
        tokens[i, : len(row)] = row
        length[i] = len(row)
    text = read(tokens, length, tokenizer=tokenizer, stop=stop, ending=ending)
    text = jax.tree.map(np.asarray, text)
    made: Any = types.SimpleNamespace(model=types.SimpleNamespace(dtype="float32"))
    context: Any = types.SimpleNamespace(tokenizer=tokenizer, stop=stop, settings=made)
    whole = [Run.text(context, row) for row in rows]
    host = [ending.cut(said) for said in whole]
    for said, piece, end in zip(host, text.bytes, text.length, strict=False):
        assert piece[:end].tobytes().decode(errors="replace") == said
    assert text.ended[: len(rows)].tolist() == [x != y for x, y in zip(host, whole, strict=True)]
    size = size_for(map(len, host))
    assert (text.characters[:, size:] == -1).all()
    fitted = np.full((ROWS, size), -1, np.int32)
    fitted[:, : text.characters.shape[1]] = text.characters[:, :size]
    return host, dataclasses.replace(text, characters=fitted)


def size_for(lengths: Iterable[int]) -> int:
    longest = max(lengths, default=0)
    return next(size for size in SIZES if size >= longest)


def check(task: Task, rows: Sequence[list[int]], tokenizer: Tokenizer, stop: str = "\n\n") -> int:
    """Grades rows against what the host finds in them and against near misses; how many are right."""
    host, text = written(rows, tokenizer, stop, task.ending())
    found = [task.answer(said) for said in host]
    right = 0
    for turn in range(3):
        golds = [_gold(found, i, turn) for i in range(len(rows))]
        expected = [
            host_grade(
                task, Problem("", "", gold, "", "1"), said, truncated=False, rule="exact"
            ).correct
            for gold, said in zip(golds, host, strict=True)
        ]
        arrays = device.gold([*golds, *[""] * (ROWS - len(rows))], ANSWER)
        rule = task.byte_rule()
        assert rule is not None
        got = np.asarray(correct(rule, text, *arrays))[: len(rows)].tolist()
        wrong = [
            case for case in zip(got, expected, golds, host, strict=True) if case[0] != case[1]
        ]
        assert not wrong, wrong[:3]
        right += sum(got)
    return right


def _gold(found: list[str | None], i: int, turn: int) -> str:
    """What the row says, what another one says, or something close to it."""
    said = found[i] or "1"
    if turn == 0:
        return said
    if turn == 1:
        return found[i - 1] or "0"
    return [f"-{said}", f"{said}0", f"0{said}", said[1:], said[:-1], f"{said}.0", "\ud800"][i % 7]


def made_up(rng: random.Random, pieces: list[str], stop: str) -> bytes:
    """Pieces in a row, in half of all rows with what the rule looks for, the first piece, in them.

    One in four has a stop text in it, one in three has bytes cut or astray.
    """
    said = rng.choices(pieces, k=rng.randrange(10))
    if rng.random() < 0.5:
        said = [*said[5:], pieces[0], *said[:3]]
    if rng.random() < 0.25:
        said.insert(rng.randrange(len(said) + 1), stop)
    data = "".join(said).encode()
    if rng.random() < 0.33 and data:
        cut = rng.randrange(len(data))
        data = (
            data[:cut] + rng.choice([b"", b"\xe2\x88", b"\xff", b"\xc2", b"\x92"]) + data[cut + 1 :]
        )
    return data


def byte_row(data: bytes, tokenizer: ByteTokenizer) -> list[int]:
    return [byte + 3 for byte in data] + ([tokenizer.eos_id] if len(data) % 2 else [])


def smollm2_row(data: bytes, rng: random.Random, most: int) -> list[int]:
    """Its tokens for the text up to any byte, and for the rest: characters are cut anywhere."""
    tokenizer = smollm2.tokenizer()
    cut = rng.randrange(len(data) + 1)
    parts = (data[:cut], data[cut:])
    row = [token for part in parts for token in _smollm2_tokens(part)]
    return [*row[: most - 1], *[tokenizer.eos_id] * rng.randrange(2)]


def _smollm2_tokens(data: bytes) -> list[int]:
    """Of text as the tokenizer has it; of what is no text, a token a byte."""
    try:
        return smollm2.tokenizer().encode(data.decode())
    except UnicodeDecodeError:
        singles = _smollm2_bytes()
        return [singles[byte] for byte in data if byte in singles]


@functools.cache
def _smollm2_bytes() -> dict[int, int]:
    pieces = enumerate(smollm2.tokenizer().token_bytes())
    return {piece[0]: token for token, piece in pieces if len(piece) == 1}


BYTEWISE, PAIRWISE = ByteTokenizer(), ByteTokenizer(("\n\n", "ab"))


@pytest.mark.parametrize("name", TASKS)
def test_host_and_device_agree_on_bytes_of_any_kind(name: str):
    rng = random.Random(name)
    right = 0
    for stop in ("\n\n", "", "1", " \ufffd"):
        rows = [byte_row(made_up(rng, PIECES[name], stop), BYTEWISE) for _ in range(ROWS)]
        right += check(TASKS[name], rows, BYTEWISE, stop)
    assert right > 50


@pytest.mark.parametrize("name", TASKS)
def test_host_and_device_agree_wherever_a_real_tokenizer_cuts(name: str):
    rng, right = random.Random(name), 0
    for _ in range(4):
        data = [made_up(rng, PIECES[name], "\n\n") for _ in range(ROWS)]
        rows = [smollm2_row(piece, rng, SIZES[0]) for piece in data]
        right += check(TASKS[name], rows, smollm2.tokenizer())
    assert right > 50


@pytest.mark.parametrize("name", TASKS)
@settings(deadline=None, max_examples=8)
@given(data=st.data())
def test_host_and_device_agree_on_any_text(name: str, data: st.DataObject):
    said = st.text(max_size=20) | st.lists(st.sampled_from(PIECES[name]), max_size=12).map("".join)
    rows = data.draw(st.lists(said.map(str.encode) | st.binary(max_size=30), max_size=50))
    check(TASKS[name], [byte_row(row, BYTEWISE) for row in rows], BYTEWISE)


@pytest.mark.parametrize("name", ["gsm8k", "odd marker", "number"])
@pytest.mark.parametrize("prefix", ["normalizer", ""])
def test_a_space_that_the_tokenizer_puts_there_does_not_count(name: str, prefix: str):
    tokenizer = sentencepiece_toys.tokenizer(prefix)
    rng, right = random.Random(name), 0
    for stop in (" 1", "\n\n"):
        said = [made_up(rng, [*PIECES[name], " ", " 1"], stop) for _ in range(ROWS)]
        rows = [[byte + len(sentencepiece_toys.SPECIAL) for byte in piece] for piece in said]
        right += check(TASKS[name], rows, tokenizer, stop)
    assert right > 10


TABLES = {
    "gsm8k": [
        *[completion for completion, _, _ in gsm8k_test.CASES],
        *[f"#### {text}" for text, *_ in number_text_test.CASES],
    ],
    "choices": [completion for completion, _ in text_test.EXACT],
    "marker": [
        *[completion for _, completion, _ in jsonl_test.FOUND],
        *[f"#### 1\n####{text}" for text, *_ in number_text_test.CASES],
    ],
    "number": [
        *[completion for _, completion, _ in jsonl_test.FOUND],
        *[text for text, *_ in number_text_test.CASES],
    ],
    "letter": [completion for _, completion, _ in jsonl_test.FOUND],
    "arithmetic": [
        f"<scratch>\n</scratch>\n{line}"
        for line in ("8 8 3", "0 8 8 3", "0 0", "", " ", "\n", "8\n8", "8 \n\n", "٣", "8\t8", "-8")
    ],
}


@pytest.mark.parametrize("name", TABLES)
def test_the_hard_cases_of_the_host(name: str):
    short = [text for text in TABLES[name] if len(text) < SIZES[-1]]  # all but 5,000 nines
    rows = [byte_row(text.encode(), BYTEWISE) for text in short]
    parts = [rows[first : first + ROWS] for first in range(0, len(rows), ROWS)]
    assert sum(check(TASKS[name], part, BYTEWISE) for part in parts) > 0


def test_every_gold_solution_of_gsm8k_is_right():
    files = texts.GSM8K.parent.glob("*.jsonl") if texts.GSM8K.exists() else []
    said = [json.loads(line)["answer"] for file in files for line in file.read_text().splitlines()]
    assert len(said) in (0, 8792)
    golds(TASKS["gsm8k"], said or texts.solutions(600), BYTEWISE, "")  # some have blank lines


def test_every_gold_completion_is_right():
    tokenizer = ByteTokenizer(Arithmetic.markup)
    problems = Arithmetic().train(0, 1, 300) + Arithmetic().evaluation(0, 20, 20)
    said = [Arithmetic().completion(p.rationale, p.answer) for p in problems]
    golds(TASKS["arithmetic"], said, tokenizer, "")
    task = CommonsenseQA("-")
    said = [task.completion(why, letter) for why in RATIONALES.values() for letter in "abcde"]
    golds(task, said, BYTEWISE)


def golds(task: Task, said: list[str], tokenizer: ByteTokenizer, stop: str = "\n\n") -> None:
    for i in range(0, len(said), ROWS):
        rows = [tokenizer.encode(text) for text in said[i : i + ROWS]]
        assert check(task, rows, tokenizer, stop) >= len(rows)  # each is right at least by its own


@settings(deadline=None, max_examples=20)
@given(st.lists(st.text(max_size=30), max_size=40))
@example(["a\n\nb", "a \u3000\n\n", "\n\n", "", " \u2028", "ab\n\n\n"])
def test_a_text_ends_where_the_host_ends_it(said: list[str]):
    tokenizer = PAIRWISE
    rows = [tokenizer.encode(text) for text in said]
    host, text = written(rows, tokenizer, "\n\n", Ending())
    assert text.length[: len(said)].tolist() == [len(one.encode()) for one in host]
    sizes = list(map(len, tokenizer.token_bytes()))
    for row, one, starts in zip(rows, said, np.asarray(text.starts), strict=False):
        pieces = [sizes[token] for token in row]
        assert starts[: len(row)].tolist() == np.cumsum([0, *pieces])[:-1].tolist()
        assert all(starts[len(row) :] == len(one.encode()))


def test_gold_answers_are_bytes():
    table, length = device.gold(["é", "", "\ud800", "12"])
    assert table.tolist() == [[0xC3, 0xA9], [0, 0], [0, 0], [0x31, 0x32]]
    assert length.tolist() == [2, 0, 0, 2]
    assert device.gold(["1"], 4)[0].shape == (1, 4)
    with pytest.raises(ValueError, match="an answer of 3 bytes: 2 are set aside"):
        device.gold(["1", "123"], 2)


def test_rows_are_graded_alike_in_the_room_they_take():
    """Up to what the smaller program has room for, over it by a byte, and to the last byte."""
    tokenizer, task, count = ByteTokenizer(Arithmetic.markup), TASKS["arithmetic"], 40
    rule, known = task.byte_rule(), table(tokenizer)
    assert rule is not None
    grade: Any = jax.jit(functools.partial(device.grade, rule, known, b""))
    usual, most = device_text.rooms(known, count)
    ending = "\n</scratch>\n8 3"
    assert len(ending) < usual < most == 12 * count
    rows = ["8" * (count - 4) + ending, "", "\n</scratch>\n08", "8 3", ending * 3]
    for over in (0, 1, most - usual):
        size = usual + over
        marks = min(size // 12, count)
        rest = "8" * (size - 12 * marks)
        rows[1] = "\n</scratch>\n" * marks + rest
        assert len(rows[1]) == size
        tokens, length = np.zeros((len(rows), count), np.int32), np.zeros((len(rows),), np.int32)
        for i, text in enumerate(rows):
            row = tokenizer.encode(text)
            tokens[i, : len(row)], length[i] = row, len(row)
        for gold in ("83", "8", rest or "0"):
            arrays = device.gold([gold] * len(rows))
            right, kept, ended = grade(tokens, length, *arrays)
            cut = [task.ending().cut(text) for text in rows]
            assert right.tolist() == [task.answer(text) == gold for text in cut]
            assert ended.tolist() == [False, False, False, False, True]
            assert kept.tolist() == [*length[:4], len(tokenizer.encode(cut[4]))]


def test_the_grader_is_one_program():
    """No callback, no shape that depends on what is written."""
    rule = TASKS["marker"].byte_rule()
    assert rule is not None
    known = table(BYTEWISE)

    whole = functools.partial(device.grade, rule, known, b"\n\n")
    shapes = [((4, 32), np.int32), ((4,), np.int32), ((4, 8), np.uint8), ((4,), np.int32)]
    args = [jax.ShapeDtypeStruct(*shape) for shape in shapes]
    program = str(jax.make_jaxpr(whole)(*args))
    assert "callback" not in program
    found = jax.eval_shape(whole, *args)
    assert [(x.shape, x.dtype) for x in found] == [((4,), t) for t in (bool, np.int32, bool)]
