"""Samples with random weights in a process of its own, for its memory's sake; see `scaling`.

    python -m experiments.bench.scaling_point [--questions=128] [--rows=32] [--prompt=64]
        [--tokens=64] [--width=256] [--layers=4]

It prints one line of JSON: the fields of `Measured`. Compilation is apart, and so is a first call
of every program.
"""

import argparse
import dataclasses
import json
import time
from collections.abc import Sequence

import jax
import numpy as np

from experiments.bench.peer_training import peak_mib
from star_jax.inference import scheduler
from star_jax.inference.buckets import Bucket
from star_jax.inference.programs import SamplingPrograms
from star_jax.inference.sampling import SamplingParams
from star_jax.inference.scheduler import Request
from star_jax.inference.slot_batch import DeviceSlots
from star_jax.inference.spec import SamplingSpec
from star_jax.inference.stop_rule import make_stop_rule
from star_jax.models.config import ModelConfig
from star_jax.runtime import sharding
from star_jax.runtime.compile import Compiler
from star_jax.training.programs import InitProgram

VOCAB = 4096
HEAD = 64


@dataclasses.dataclass(frozen=True)
class Point:
    """What is sampled.

    Attributes:
        questions: in all.
        rows: slots.
        prompt: tokens of a question; as many stand before all of them as a few-shot prompt.
        tokens: written for each, whatever they are.
        width: of the residual stream; of the MLP four times as much, a head for every `HEAD`.
        layers: blocks.
    """

    questions: int = 128
    rows: int = 32
    prompt: int = 64
    tokens: int = 64
    width: int = 256
    layers: int = 4


@dataclasses.dataclass(frozen=True)
class Measured:
    """What that took.

    Attributes:
        seconds: from the few-shot prompt to the last token.
        compile_seconds: before it.
        peak_mib: most memory that the process held, compiling included.
    """

    seconds: float
    compile_seconds: float
    peak_mib: float


def measure(point: Point) -> Measured:
    """Samples once to warm up and once for the clock."""
    config = ModelConfig(
        layers=point.layers, width=point.width, heads=point.width // HEAD, head_dim=HEAD,
        hidden=4 * point.width, rotary=HEAD // 2, vocab=VOCAB, context=8192,
    )  # fmt: skip
    bucket = Bucket(point.tokens, point.prompt, point.rows)
    stop = make_stop_rule((), "", [b"a"] * VOCAB, VOCAB)
    spec = SamplingSpec((bucket,), stop, SamplingParams(), prefix_length=point.prompt)
    compiler, mesh = Compiler(), sharding.make_mesh(devices=jax.devices()[:1])
    init = InitProgram(compiler, config, mesh)
    programs = SamplingPrograms(compiler, config, mesh, spec)
    begun = time.perf_counter()
    compiler.finish()
    compiled = time.perf_counter() - begun
    weights = programs.lay_out(init(0))
    drawn = np.random.default_rng(0).integers(VOCAB, size=(1 + point.questions, point.prompt))
    shown, *asked = drawn.tolist()

    def sample(questions: Sequence[list[int]]) -> float:
        begun = time.perf_counter()
        policy = programs.policy(weights, shown)
        rows = [Request(number, tokens, point.tokens) for number, tokens in enumerate(questions)]
        for chunk in scheduler.plan(rows, (bucket,), refills=len(rows)):
            scheduler.run(chunk, DeviceSlots(programs, policy, (0, 0, 0), bucket))
        return time.perf_counter() - begun

    sample(asked[: point.rows])
    return Measured(sample(asked), compiled, peak_mib())


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    for field in dataclasses.fields(Point):
        parser.add_argument(f"--{field.name}", type=int, default=field.default)
    print(json.dumps(dataclasses.asdict(measure(Point(**vars(parser.parse_args(arguments)))))))


if __name__ == "__main__":
    main()
