"""The folder of a run that never ran: random weights, and samples that are right or wrong at will."""

import dataclasses
import functools
import pathlib
from collections.abc import Sequence
from typing import Any

import jax

import fakes
from star_jax.config import validation
from star_jax.data.sample import Sample
from star_jax.data.tokenizer import ByteTokenizer
from star_jax.grading import filtering, ledger
from star_jax.models.config import ModelConfig
from star_jax.models.params import Params, init_params
from star_jax.storage import files, run_dir
from star_jax.storage.checkpoint import Checkpoints
from star_jax.tasks.arithmetic import Arithmetic
from star_jax.tasks.task import Problem

TASK = Arithmetic(max_digits=1)
PROBLEMS = TASK.train(seed=0, round=1, count=24)
SETTINGS = fakes.tiny()


@functools.cache
def weights() -> Params:
    """Of the tiny run's model, random."""
    shape, vocab = SETTINGS.model, -(-fakes.TOKENIZER.vocab_size // 16) * 16
    names = ("layers", "width", "heads", "head_dim", "hidden", "rotary", "context")
    config = ModelConfig(**{name: getattr(shape, name) for name in names}, vocab=vocab)
    return jax.jit(functools.partial(init_params, config))(jax.random.key(0))


def sample(problem: Problem, text: str, **fields: Any) -> Sample:
    """The line of the ledger for a completion; with `hint`, as it is in kept.jsonl."""
    made = filtering.make_sample(
        TASK, problem, 1, fields.get("hint", False), text, truncated=False, tokens=len(text)
    )
    return dataclasses.replace(made, prompt=TASK.prompt(problem, False), **fields)


def right(problem: Problem) -> Sample:
    return sample(problem, TASK.completion(problem.rationale, problem.answer))


def wrong(problem: Problem) -> Sample:
    """What it writes instead of a digit shows that it is wrong."""
    return sample(problem, TASK.completion("0 0 0 0", "0 0 0"))


def every() -> list[list[Sample]]:
    """The samples of two rounds: each question is wrong in the first and right in the second."""
    return [[wrong(problem) for problem in PROBLEMS], [right(problem) for problem in PROBLEMS]]


def write(
    folder: pathlib.Path,
    rounds: Sequence[Sequence[Sample]] | None = None,
    best: int = 1,
    **changes: Any,
) -> pathlib.Path:
    """Writes the folder of a run with these samples of its rounds.

    Args:
        folder: of the run.
        rounds: samples of rounds 1, 2, ...; those with a hint are in kept.jsonl alone.
        best: the best round, the only one with weights besides the base model.
        changes: to the section `train` of the settings.
    """
    train = dataclasses.replace(SETTINGS.train, **changes)
    settings = dataclasses.replace(SETTINGS, train=train)
    files.write_json(folder / "config.json", validation.to_dict(settings))
    rounds = every() if rounds is None else rounds
    records = [{"round": number} for number in range(len(rounds) + 1)]
    files.write_json(folder / "result.json", {"rounds": records, "best_round": best})
    ByteTokenizer(Arithmetic.markup).save(folder / "tokenizer")
    for number, samples in enumerate(rounds, 1):
        place = run_dir.ledger(folder, number)
        ledger.write_shard(place, "samples", 0, [one for one in samples if not one.hint])
        ledger.write_kept(place, [one for one in samples if one.kept])
    checkpoints = Checkpoints(run_dir.weights(folder))
    for number in sorted({0, best}):
        checkpoints.save(number, jax.tree.map(lambda x: x + 0.0, weights()))
    checkpoints.close()
    return folder
