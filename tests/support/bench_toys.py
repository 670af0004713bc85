"""A model of bytes with its tokenizer, and rows like GSM8K's, for the tests of the benchmarks."""

import dataclasses
import json
import pathlib

import texts
import toys
from star_jax.conversion import export, load
from star_jax.data.tokenizer import ByteTokenizer


def data(folder: pathlib.Path) -> str:
    """240 rows to train on, 60 to ask."""
    pairs = zip(texts.questions(300), texts.solutions(300), strict=True)
    lines = [json.dumps({"question": q, "answer": a}) + "\n" for q, a in pairs]
    (folder / "train.jsonl").write_text("".join(lines[:240]))
    (folder / "test.jsonl").write_text("".join(lines[240:]))
    return str(folder)


def model(folder: pathlib.Path) -> str:
    """A GPT-J of one layer with room for the few-shot prompt in bytes."""
    config = dataclasses.replace(toys.BYTES, vocab=ByteTokenizer().vocab_size, context=8192)
    gptj = load.FAMILIES["gptj"]
    values = {**gptj.write(config), "eos_token_id": 2, "bos_token_id": 1, "pad_token_id": 0}
    export.export(toys.params(config), config, gptj, values, ByteTokenizer(), folder / "model")
    return str(folder / "model")
