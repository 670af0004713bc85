"""Our trainer on a packed batch, in a process of its own, as `peer_training` is.

    python -m experiments.bench.our_training MODEL BATCH [--micro_batch=0] [--remat=none]
        [--steps=3]

MODEL is what `star_jax.conversion.load.load` takes, BATCH a file of `peer_training.save`. It prints
one line of JSON: the fields of `peer_training.Trained`. Compilation is before the first update.
"""

import argparse
import dataclasses
import json
import pathlib
from collections.abc import Sequence
from typing import Literal

import jax

from experiments.bench import peer_training
from experiments.bench.peer_training import CLIP, LEARNING_RATE
from star_jax.conversion import load
from star_jax.data.packing import Packed
from star_jax.runtime import sharding
from star_jax.runtime.compile import Compiler
from star_jax.training.optimizer import make_optimizer
from star_jax.training.programs import UpdatePrograms
from star_jax.training.spec import UpdateSpec

Remat = Literal["none", "blocks"]


class Ours:
    """A model that is open and compiled, with its optimizer."""

    def __init__(
        self, model: str, batch: Packed, micro_batch: int, remat: Remat, dtype: str = "float32"
    ) -> None:
        """Opens the model, for batches of one shape; arguments as in `UpdateSpec` and `load`."""
        grid = sharding.make_mesh(devices=jax.devices()[:1])
        loaded = load.load(model, grid, dtype=dtype)
        rows, length = batch.tokens.shape
        optimizer = make_optimizer(clip=CLIP)
        spec = UpdateSpec(optimizer, rows, length, micro_batch, remat)
        compiler = Compiler()
        self._programs = UpdatePrograms(compiler, loaded.config, grid, spec)
        compiler.finish()
        self._state = self._programs.begin(loaded.params)

    def update(self, batch: Packed) -> float:
        """One update; returns the loss before it, in nats per weighted token."""
        self._state, metrics = self._programs.update(self._state, batch, LEARNING_RATE)
        return metrics()["loss"]


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("batch", metavar="BATCH", type=pathlib.Path)
    parser.add_argument("--micro_batch", type=int, default=0)
    parser.add_argument("--remat", default="none", choices=("none", "blocks"))
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--steps", type=int, default=3, help="the first one is not timed")
    given = parser.parse_args(arguments)
    batch = peer_training.load_batch(given.batch)
    ours = Ours(given.model, batch, given.micro_batch, given.remat, given.dtype)
    done = peer_training.repeat(lambda: ours.update(batch), batch, given.steps)
    print(json.dumps(dataclasses.asdict(done)))


if __name__ == "__main__":
    main()
