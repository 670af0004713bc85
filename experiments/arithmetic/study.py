"""Runs the arithmetic study, after STaR's Figure 4: a base model, three arms, several seeds, plots.

    python experiments/arithmetic/study.py [--runs=runs/study] [--seeds=3] [--jobs=2]
        [--output=FOLDER] [--config.NAME=VALUE ...]

All start from one base model (RUNS/base), with the same problems, updates and examples an update:
with rationalization, without, and direct answers without a scratchpad. A run that is finished is
not done again, and one that was stopped goes on, so the same command resumes the study.
"""

import argparse
import concurrent.futures
import itertools
import os
import pathlib
import queue
import subprocess
import sys
from collections.abc import Sequence

HERE = pathlib.Path(__file__).resolve().parent
CONFIG = HERE.parents[1] / "configs" / "arithmetic.py"
ARMS = {
    "rationalize": [],
    "no_rationalize": ["--config.rationalize.enabled=false"],
    # an answer alone is a quarter as long as with its scratchpad: as many examples in an update
    "direct": ["--config.method=direct", "--config.train.length=64"],
}


def base_command(runs: pathlib.Path, more: Sequence[str] = ()) -> list[str]:
    """The command line that makes the base model: a run without a round."""
    return _command(runs / "base", *more, "--config.rounds.count=0")


def arm_command(arm: str, seed: int, runs: pathlib.Path, more: Sequence[str] = ()) -> list[str]:
    """The command line of one arm with one seed, with `more` arguments at its end."""
    own = [f"--config.seed={seed}", f"--config.pretrain.base={runs / 'base'}", *ARMS[arm]]
    return _command(runs / f"{arm}-seed{seed}", *own, *more)


def _command(workdir: pathlib.Path, *flags: str) -> list[str]:
    program = (sys.executable, "-m", "star_jax.main", f"--config={CONFIG}:study")
    return [*program, f"--workdir={workdir}", *flags]


def run(line: Sequence[str]) -> int:
    """Runs a command to its end, its output in a log beside its --workdir."""
    (workdir,) = (flag.partition("=")[2] for flag in line if flag.startswith("--workdir="))
    name = pathlib.Path(workdir).name
    _say(f"{name}: started")
    with pathlib.Path(f"{workdir}.log").open("a") as log:
        status = subprocess.run(line, stdout=log, stderr=subprocess.STDOUT, check=False).returncode
    _say(f"{name}: {'FAILED, see its log' if status else 'done'}")
    return status


def _say(line: str) -> None:
    print(f"{line}\n", end="", flush=True)  # in one piece: the runs speak from threads


def main() -> int:
    """Runs what is missing, `--jobs` at a time, and draws what there is; 0 if all went well."""
    parser = argparse.ArgumentParser(description="The arithmetic study.", allow_abbrev=False)
    parser.add_argument("--runs", type=pathlib.Path, default=pathlib.Path("runs/study"))
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0, 1, ... of each arm")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, each on a core")
    parser.add_argument("--output", type=pathlib.Path, default=HERE, help="folder of the plots")
    chosen, more = parser.parse_known_args()
    chosen.runs.mkdir(parents=True, exist_ok=True)
    if run(base_command(chosen.runs, more)):
        return 1
    cores: queue.SimpleQueue[int] = queue.SimpleQueue()

    def pin() -> None:
        """Keeps the calling thread, and the processes it starts, on a core of their own."""
        if sys.platform == "linux" and chosen.jobs > 1:
            os.sched_setaffinity(0, {cores.get()})

    if sys.platform == "linux":
        mine = itertools.cycle(sorted(os.sched_getaffinity(0)))
        for core in itertools.islice(mine, chosen.jobs):
            cores.put(core)
    with concurrent.futures.ThreadPoolExecutor(chosen.jobs, initializer=pin) as pool:
        todo = [
            arm_command(arm, seed, chosen.runs, more)
            for seed in range(chosen.seeds)
            for arm in ARMS
        ]
        statuses = list(pool.map(run, todo))
    if any(statuses):
        return 1  # what an earlier run has left in an arm's folder is not drawn
    plot = [sys.executable, HERE / "plot.py", chosen.runs, "--output", chosen.output]
    return subprocess.run(plot, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
