"""A whole round: ours against a plain loop of transformers' `generate` and PyTorch updates.

    python -m experiments.bench.round --model=MODEL --data=DATA [--questions=128] [--held_out=64]
        [--updates=40] [--batch=4x512] [--rows=64] [--dtype=float32] [--dtypes=float32,bfloat16]
        [--trial=32] [--repeats=1] [--json=FILE]

MODEL and DATA as in `workload`. A round of configs/gsm8k.py:smollm2 with these sizes: rationales
for all questions behind six worked examples, a second try with the hint where they are wrong, the
filter, updates on what is kept, and what the new model makes of the held-out questions. Both sides
grade, filter and pack with the same functions; ours also writes its ledger and weights to disk and
reads its model anew for each phase, as a run does. Compilation is apart (`compile_seconds`). A
token is one that was written or trained on. The peer samples with its best setting on `--trial`
questions, and trains in that setting's type, the whole batch or a row at a time, whichever has the
faster update; ours does both in `--dtype`.
"""

import argparse
import pathlib
import tempfile
import time
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from configs import gsm8k
from experiments.bench import compare, peer_sampling, peer_training, workload
from experiments.bench.compare import Side
from experiments.bench.sampling import best
from experiments.bench.workload import Questions
from star_jax.config import validation
from star_jax.config.validation import Settings
from star_jax.data import packing
from star_jax.data.sample import Sample
from star_jax.grading import filtering
from star_jax.grading import ledger as ledger_lib
from star_jax.star import rounds
from star_jax.star.build import Run, make_run
from star_jax.tasks import Problem


def configured(given: argparse.Namespace) -> Settings:
    """The settings of the round."""
    rows, length = map(int, given.batch.split("x"))
    config = gsm8k.get_config("smollm2")
    changes: dict[str, Any] = {
        "model.source": given.model,
        "model.dtype": given.dtype,
        "task.data": given.data,
        "rounds.count": 1,
        "rounds.problems": given.questions,
        "evaluate.problems": given.held_out,
        "evaluate.test_problems": 1,
        "few_shot.examples": workload.EXAMPLES,
        "sampler.rows": given.rows,
        "sampler.max_new_tokens": workload.BUDGET,
        "train.batch_size": rows,
        "train.length": length,
        "train.micro_batch": 0,
        "train.first_steps": given.updates,
        "train.learning_rate": peer_training.LEARNING_RATE,
        "train.warmup_steps": 0,
    }
    config.update_from_flattened_dict(changes)
    return validation.from_config(config)


def ours(context: Run, compile_seconds: list[float]) -> Side:
    """Our side: a run of one round in a folder of its own, of which round 1 counts."""

    def side() -> tuple[int, float]:
        with tempfile.TemporaryDirectory() as folder:
            records = rounds.run_rounds(context.settings, folder)["rounds"]
            compile_seconds.append(records[0]["seconds"]["compile"])
            ledger = pathlib.Path(folder) / "rounds/0001"
            written = sum(
                sample.tokens
                for kind in ("samples", "rationalized", "evaluation")
                for sample in ledger_lib.read_shards(ledger, kind)
            )
            kept = ledger_lib.read_kept(ledger)
        trained = sum(int((batch.segments > 0).sum()) for batch in batches(context, kept))
        return written + trained, records[1]["seconds"]["total"]

    return side


def batches(context: Run, kept: Sequence[Sample]) -> list[packing.Packed]:
    """What the round is trained on, in the order in which it is; nothing where nothing is kept."""
    if not kept:
        return []
    chosen = context.settings.train
    packed = packing.pack(context.prompter.training_examples(kept), chosen.length)
    seed = context.settings.seed + 1
    return list(packing.batches(packed, chosen.batch_size, seed, chosen.first_steps))


class Loop:
    """The peer: one model to sample with, one to train."""

    def __init__(
        self,
        context: Run,
        model: pathlib.Path,
        sampling: peer_sampling.Setting,
        training: peer_training.Setting,
    ) -> None:
        """Opens the model in `model`, as `workload.export` writes it."""
        self._context, self._model = context, model
        self._sampling, self._training = sampling, training

    def run(self) -> tuple[int, float]:
        """One round; a side of the comparison."""
        sampler = peer_sampling.Peer(self._model, self._sampling)
        trainer = peer_training.Peer(self._model, self._training)
        problems, held_out = self._context.problems.train(1), self._context.problems.held_out
        begun = time.perf_counter()
        first = self._sample(sampler, problems, hint=False)
        wrong = set(filtering.failed(first))
        second = self._sample(sampler, [p for p in problems if p.id in wrong], hint=True)
        trained = 0
        for batch in batches(self._context, filtering.filter_samples(first, second)):
            trainer.update(batch)
            trained += int((batch.segments > 0).sum())
        sampler.model.load_state_dict(trainer.model.state_dict())
        tried = [*first, *second, *self._sample(sampler, held_out, hint=False)]
        seconds = time.perf_counter() - begun
        return sum(sample.tokens for sample in tried) + trained, seconds

    def _sample(
        self, sampler: peer_sampling.Peer, problems: Sequence[Problem], *, hint: bool
    ) -> list[Sample]:
        sampled = sampler.run(questions(self._context, problems, hint=hint))
        budget = self._context.buckets[-1].max_new_tokens
        return [
            filtering.make_sample(
                self._context.task,
                problem,
                1,
                hint,
                self._context.text(row),
                truncated=len(row) >= budget,
                tokens=len(row),
            )
            for problem, row in zip(problems, sampled.rows, strict=True)
        ]


def questions(context: Run, problems: Sequence[Problem], *, hint: bool) -> Questions:
    """What the peer is asked."""
    return Questions(
        context.prompter,
        problems,
        hint,
        context.buckets[-1].max_new_tokens,
        context.stop,
        context.tokenizer.eos_ids,
    )


def faster(model: pathlib.Path, batch: packing.Packed, dtype: str) -> peer_training.Setting:
    """How the peer trains: the whole batch or a row at a time, by an update of each."""
    path = model.parent / "batch.npz"
    peer_training.save(batch, path)

    def seconds(setting: peer_training.Setting) -> float:
        taken = min(peer_training.measure(model, path, setting, steps=3).seconds)
        print(f"trial, {setting}: an update in {taken:.1f} s", flush=True)
        return taken

    return min((peer_training.Setting(dtype, rows) for rows in (0, 1)), key=seconds)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    workload.add_arguments(parser)
    parser.add_argument("--questions", type=int, default=128)
    parser.add_argument("--held_out", type=int, default=64)
    parser.add_argument("--updates", type=int, default=40)
    parser.add_argument("--batch", default="4x512")
    parser.add_argument("--rows", type=int, default=64, help="of ours, at a time")
    parser.add_argument("--dtypes", default="float32,bfloat16", help="of the peer's sampling")
    parser.add_argument("--trial", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=1)
    given = parser.parse_args(arguments)
    chosen, compile_seconds = configured(given), list[float]()
    settings_ = [s for s in peer_sampling.SETTINGS if s.dtype in given.dtypes.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        context = make_run(chosen, pathlib.Path(folder) / "run", Console(quiet=True))
        model = workload.export(given.model, pathlib.Path(folder) / "model")
        trial = questions(context, context.problems.train(1)[: given.trial], hint=False)
        sampling = best(model, trial, settings_)
        size = map(int, given.batch.split("x"))
        training = faster(
            model, workload.batch(context.tokenizer, given.data, *size), sampling.dtype
        )
        rows = "a row at a time" if training.micro_batch else "at once"
        found = compare.compare(
            ours(context, compile_seconds),
            {f"{sampling}; {rows}": Loop(context, model, sampling, training).run},
            repeats=given.repeats,
        )
    compare.show(Console(), {"round": found})
    compare.write(given.json, {"round": found}, compile_seconds=compile_seconds)


if __name__ == "__main__":
    main()
