"""How long a run takes to its first sampled token: at its first start, and when started again.

    python -m experiments.bench.start --model=MODEL --data=DATA [--rows=0] [--batch=4x512]
        [--dtype=float32] [--repeats=3] [--json=FILE]

MODEL and DATA as in `workload`. Each start is a process of its own that does what a run of
configs/gsm8k.py:smollm2 does first, from its imports to the first token of the first questions
behind the few-shot prompt: data, programs in the background, weights. A cold start finds nothing, a
warm one what was compiled before. `compiled` counts what a process has compiled in all.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from configs import gsm8k
from experiments.bench import workload

_CACHE = "JAX_COMPILATION_CACHE_DIR"  # would keep programs in another place


@dataclasses.dataclass(frozen=True)
class Started:
    """What a process tells of itself.

    Attributes:
        first: `time.time` when its first token was there.
        compiled: programs that it has compiled.
    """

    first: float
    compiled: int


def begin(given: argparse.Namespace) -> Started:
    """Starts a run in `given.begin` up to its first token; then compiles what else it needs."""
    from star_jax.config import validation
    from star_jax.inference import scheduler
    from star_jax.inference.slot_batch import DeviceSlots
    from star_jax.reporting.meter import CompilationCount
    from star_jax.runtime.compile import use_cache
    from star_jax.star import weights
    from star_jax.star.build import make_run

    use_cache(f"{given.begin}/cache")
    compilations = CompilationCount()
    config = gsm8k.get_config("smollm2")
    batch_size, length = map(int, given.batch.split("x"))
    changes: dict[str, Any] = {
        "model.source": given.model,
        "model.dtype": given.dtype,
        "task.data": given.data,
        "sampler.rows": given.rows,
        "train.batch_size": batch_size,
        "train.length": length,
    }
    config.update_from_flattened_dict(changes)
    run = make_run(validation.from_config(config), given.begin, Console(quiet=True))
    run.programs.compiler.start()
    base = weights.restore_policy(run, weights.open_weights(run), 0)
    programs, bucket = run.programs.sampling, run.buckets[0]
    policy = programs.policy(base, run.prompter.few_shot(False))
    asked = [
        scheduler.Request(
            number,
            run.prompter.prompt_ids(problem, False, with_few_shot=True),
            bucket.max_new_tokens,
        )
        for number, problem in enumerate(run.problems.held_out[: bucket.rows])
    ]

    class AdmittedError(Exception):
        """The first rows are in, and each has written its first token."""

    class First(DeviceSlots):
        """Slots that stop there."""

        def admit(self, rows: Sequence[scheduler.Row], slots: Sequence[int]) -> int:
            super().admit(rows, slots)
            raise AdmittedError

    with contextlib.suppress(AdmittedError):
        scheduler.run(
            scheduler.plan(asked, [bucket])[0], First(programs, policy, (0, 0, 0), bucket)
        )
    first = time.time()
    run.programs.compiler.finish()
    return Started(first, compilations.total)


def start(given: argparse.Namespace, workdir: pathlib.Path) -> tuple[float, int]:
    """A start in a process of its own: seconds to the first token, and programs compiled."""
    fields = ("model", "data", "rows", "batch", "dtype")
    flags = [f"--{name}={getattr(given, name)}" for name in fields]
    begun = time.time()
    done = subprocess.run(
        [sys.executable, "-m", "experiments.bench.start", *flags, f"--begin={workdir}"],
        env={name: value for name, value in os.environ.items() if name != _CACHE},
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    told = Started(**json.loads(done.stdout.splitlines()[-1]))
    return told.first - begun, told.compiled


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    workload.add_arguments(parser)
    parser.add_argument("--rows", type=int, default=0, help="as config.sampler.rows")
    parser.add_argument("--batch", default="4x512", help="what the run is to train on")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--begin", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.begin:
        print(json.dumps(dataclasses.asdict(begin(given))))
        return
    found: dict[str, list[tuple[float, int]]] = {"cold": [], "warm": []}
    for _ in range(given.repeats):
        with tempfile.TemporaryDirectory() as home:
            for told in found.values():
                told.append(start(given, pathlib.Path(home) / "run"))
    figures = {}
    for name, told in found.items():
        seconds, compiled = zip(*told, strict=True)
        figures[name] = {"seconds": list(seconds), "compiled": list(compiled)}
        print(
            f"{name}: {statistics.median(seconds):.1f} s to the first token "
            f"({min(seconds):.1f} to {max(seconds):.1f}), {max(compiled)} programs compiled"
        )
    if given.json:
        given.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
