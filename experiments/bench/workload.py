"""What the speed benchmarks work on, the same for ours and for the peers: GSM8K as tokens.

DATA is a folder with GSM8K's train.jsonl and test.jsonl; MODEL is what
`star_jax.conversion.load.load` takes. The peers get its very float32 weights through `export`.
"""

import argparse
import dataclasses
import pathlib
from collections.abc import Sequence

import jax
import numpy as np

from star_jax.conversion import load
from star_jax.conversion.export import export as export_model
from star_jax.data import packing
from star_jax.data.packing import Packed
from star_jax.data.prompts import Prompter
from star_jax.data.tokenizer import HuggingFaceTokenizer, Tokenizer
from star_jax.runtime import sharding
from star_jax.tasks.gsm8k import GSM8K
from star_jax.tasks.task import Problem

EXAMPLES = 6  # of the few-shot prompt, as in configs/gsm8k.py
QUESTIONS = 256
BUDGET = 192  # new tokens, where rows stop by themselves
FORCED = 128  # new tokens, where they do not
BATCHES = ((4, 512), (8, 1024))  # rows and length of the packed batches to train on
_EXAMPLE = 64  # tokens; hardly a solved problem is shorter


@dataclasses.dataclass(frozen=True)
class Questions:
    """What is sampled, greedily.

    Attributes:
        prompter: of the model's tokenizer, with the examples of the few-shot prompt.
        problems: the questions.
        hint: whether they are asked with their answers.
        budget: most new tokens of a question.
        stop: text that ends a completion once it is written; "" for none.
        ends: ids that end a completion; () for none.
    """

    prompter: Prompter
    problems: Sequence[Problem]
    hint: bool
    budget: int
    stop: str
    ends: tuple[int, ...]

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's."""
        return self.prompter.tokenizer

    @property
    def prefix(self) -> list[int]:
        """Ids of the few-shot prompt, which comes before every question."""
        return self.prompter.few_shot(self.hint)

    def encode(self) -> list[list[int]]:
        """The ids of each question after the prompt; part of what is timed."""
        return [self.row(problem) for problem in self.problems]

    def row(self, problem: Problem) -> list[int]:
        """The ids of one."""
        return self.prompter.prompt_ids(problem, self.hint, with_few_shot=True)


def questions(
    tokenizer: Tokenizer, data: str, count: int = QUESTIONS, *, forced: bool = False
) -> Questions:
    """The first test questions of a run behind its few-shot prompt.

    Args:
        tokenizer: of the model.
        data: the folder of GSM8K.
        count: questions.
        forced: each has `FORCED` tokens written, whatever they are. Otherwise it ends as in a run:
            with the blank line that follows an example's answer, an end of text, or after `BUDGET`.
    """
    task = GSM8K(data)
    prompter = Prompter(tokenizer, task, tuple(task.few_shot(seed=0, count=EXAMPLES)))
    asked = (prompter, task.test(count), False)
    if forced:
        return Questions(*asked, FORCED, "", ())
    return Questions(*asked, BUDGET, task.separator, tokenizer.eos_ids)


def batch(tokenizer: Tokenizer, data: str, rows: int, length: int) -> Packed:
    """Packed gold solutions to train on, [rows, length], each after its question.

    Args:
        tokenizer: of the model.
        data: the folder of GSM8K.
        rows: packed sequences.
        length: their tokens.
    """
    task = GSM8K(data)
    examples = [
        packing.encode(
            tokenizer, task.prompt(p, hint=False), task.completion(p.rationale, p.answer)
        )
        for p in task.train(seed=0, round=1, count=rows * length // _EXAMPLE)
    ]
    whole = [example for example in examples if len(example.tokens) <= length]
    return packing.pack(whole, length).rows(np.arange(rows))


def export(model: str, folder: pathlib.Path) -> pathlib.Path:
    """Writes `model` in float32 to `folder`, for transformers; returns the folder."""
    loaded = load.load(model, sharding.make_mesh(devices=jax.devices()[:1]))
    shape = (loaded.params, loaded.config, loaded.family, loaded.hf_config)
    return export_model(*shape, HuggingFaceTokenizer.open(model), folder)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line that the benchmarks have in common."""
    parser.add_argument("--model", required=True, help="such as $(make -s smollm2)")
    parser.add_argument("--data", required=True, help="folder of GSM8K's train.jsonl, test.jsonl")
    parser.add_argument(
        "--dtype", default="float32", choices=("float32", "bfloat16"), help="of our computation"
    )
    parser.add_argument("--json", type=pathlib.Path, help="where to write the figures too")
