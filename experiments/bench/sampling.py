"""Sampling: ours against transformers' `generate`, on GSM8K behind a few-shot prompt, greedily.

    python -m experiments.bench.sampling --model=MODEL --data=DATA [--kinds=natural,forced]
        [--dtypes=float32,bfloat16] [--questions=256] [--trial=64] [--rows=64] [--repeats=3]
        [--json=FILE]

MODEL and DATA as in `workload`. Natural completions end as in a run, forced ones have 128 tokens
each. The peer's best setting is chosen first, on `--trial` questions; then both have all questions,
by turns. Seconds are from text to text. Ours has compiled before that (`compile_seconds`). The
roofline is of one decoding step of `--rows`: prompts are not in it, nor is attention. On a CPU that
has no products of bfloat16 (see lscpu) torch takes 7 times as long for them: --dtypes=float32.
"""

import argparse
import dataclasses
import pathlib
import tempfile
import time
from collections.abc import Sequence

import jax
from rich.console import Console

from experiments.bench import compare, peer_sampling, workload
from experiments.bench.compare import Side
from experiments.bench.peer_sampling import Peer, Setting
from experiments.bench.roofline import Products
from experiments.bench.workload import Questions
from star_jax import mesh
from star_jax.model import load
from star_jax.programs import Programs
from star_jax.sampler import engine
from star_jax.sampler.decode import make_stop
from star_jax.sampler.engine import Row, Shape
from star_jax.sampler.select import Selection
from star_jax.shapes import rounded
from star_jax.tokenizer import HuggingFaceTokenizer


def ours(loaded: load.Loaded, questions: Questions, rows: int) -> tuple[Side, float]:
    """Our side, compiled, and the seconds that this took.

    Args:
        loaded: the model on its mesh, float32.
        questions: the work.
        rows: decoded at a time.
    """
    longest = max(map(len, questions.encode()))
    shape = Shape(questions.budget, rounded(longest), rows)
    pieces, vocab = questions.tokenizer.token_bytes(), loaded.config.vocab
    programs = Programs(
        loaded.config,
        mesh.make_mesh(devices=jax.devices()[:1]),
        stop=make_stop(questions.ends, questions.stop, pieces[:vocab], vocab),
        selection=Selection(),
        shapes=(shape,),
        prefix=rounded(len(questions.prefix)),
        learning={},
        fresh=False,
    )
    begun = time.perf_counter()
    programs.compile()

    def side() -> tuple[int, float]:
        begun = time.perf_counter()
        asked = [Row(i, row, questions.budget) for i, row in enumerate(questions.encode())]
        sampling = programs.sampling
        policy = sampling.policy(sampling.lay_out(loaded.params), questions.prefix)
        written = [
            completion.tokens
            for chunk in engine.plan(asked, (shape,), refills=len(asked))
            for completion in engine.complete(chunk, sampling.open(policy, (0, 0, 0), shape))
        ]
        for tokens in written:
            questions.tokenizer.decode(tokens)
        return sum(map(len, written)), time.perf_counter() - begun

    return side, time.perf_counter() - begun


def best(folder: pathlib.Path, questions: Questions, settings: Sequence[Setting]) -> Setting:
    """The peer's fastest setting on these questions."""

    def rate(setting: Setting) -> float:
        sampled = Peer(folder, setting).run(questions)
        return sampled.tokens / sampled.seconds

    return max(settings, key=rate)


def peer(folder: pathlib.Path, setting: Setting, questions: Questions) -> Side:
    """The peer's side, its model open."""
    opened = Peer(folder, setting)

    def side() -> tuple[int, float]:
        sampled = opened.run(questions)
        return sampled.tokens, sampled.seconds

    return side


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    workload.add_arguments(parser)
    parser.add_argument("--kinds", default="natural,forced")
    parser.add_argument("--dtypes", default="float32,bfloat16", help="of the peer")
    parser.add_argument("--questions", type=int, default=workload.QUESTIONS)
    parser.add_argument("--trial", type=int, default=64)
    parser.add_argument("--rows", type=int, default=64, help="of ours, at a time")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args(arguments)
    tokenizer = HuggingFaceTokenizer.open(given.model)
    loaded = load.load(given.model, mesh.make_mesh(devices=jax.devices()[:1]))
    dtypes = given.dtypes.split(",")
    settings = [setting for setting in peer_sampling.SETTINGS if setting.dtype in dtypes]
    found, seconds = {}, {}
    roofline = Products(loaded.config).measure(given.rows).tokens_per_second
    with tempfile.TemporaryDirectory() as folder:
        exported = workload.export(given.model, pathlib.Path(folder) / "model")
        for kind in given.kinds.split(","):
            work = workload.questions(
                tokenizer, given.data, given.questions, forced=kind == "forced"
            )
            few = dataclasses.replace(work, texts=work.texts[: given.trial])
            setting = best(exported, few, settings)
            mine, seconds[kind] = ours(loaded, work, given.rows)
            found[kind] = compare.compare(
                mine,
                {str(setting): peer(exported, setting, work)},
                repeats=given.repeats,
                roofline=roofline,
            )
    compare.show(Console(), found)
    compare.write(given.json, found, compile_seconds=seconds)


if __name__ == "__main__":
    main()
