"""Runs the arithmetic study, after STaR's Figure 4: a base model, three arms, several seeds, plots.

    python -m experiments.arithmetic.study [--runs=runs/study] [--seeds=3] [--jobs=2]
        [--output=FOLDER] [--config.NAME=VALUE ...]

All start from one base model (RUNS/base), with the same problems, updates and examples an update:
with rationalization, without, and direct answers without a scratchpad. A run that is finished is
not done again, and one that was stopped goes on, so the same command resumes the study.
"""

import argparse
import pathlib
import subprocess
import sys
from collections.abc import Sequence

from experiments import runs

HERE = pathlib.Path(__file__).resolve().parent
CONFIG = HERE.parents[1] / "configs" / "arithmetic.py"
ARMS = {
    "rationalize": [],
    "no_rationalize": ["--config.rationalize.enabled=false"],
    # an answer alone is a quarter as long as with its scratchpad: as many examples in an update
    "direct": ["--config.method=direct", "--config.train.length=64"],
}


def base_command(folder: pathlib.Path, more: Sequence[str] = ()) -> list[str]:
    """The command line that makes the base model: a run without a round."""
    return _command(folder / "base", *more, "--config.rounds.count=0")


def arm_command(arm: str, seed: int, folder: pathlib.Path, more: Sequence[str] = ()) -> list[str]:
    """The command line of one arm with one seed, with `more` arguments at its end."""
    own = [f"--config.seed={seed}", f"--config.pretrain.base={folder / 'base'}", *ARMS[arm]]
    return _command(folder / f"{arm}-seed{seed}", *own, *more)


def _command(workdir: pathlib.Path, *flags: str) -> list[str]:
    program = (sys.executable, "-m", "star_jax.main", f"--config={CONFIG}:study")
    return [*program, f"--workdir={workdir}", *flags]


def main() -> int:
    """Runs what is missing, `--jobs` at a time, and draws what there is; 0 if all went well."""
    parser = argparse.ArgumentParser(description="The arithmetic study.", allow_abbrev=False)
    parser.add_argument("--runs", type=pathlib.Path, default=pathlib.Path("runs/study"))
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0, 1, ... of each arm")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, each on a core")
    parser.add_argument("--output", type=pathlib.Path, default=HERE, help="folder of the plots")
    chosen, more = parser.parse_known_args()
    chosen.runs.mkdir(parents=True, exist_ok=True)
    if runs.run(base_command(chosen.runs, more)):
        return 1
    todo = [
        arm_command(arm, seed, chosen.runs, more) for seed in range(chosen.seeds) for arm in ARMS
    ]
    statuses = runs.run_all(todo, chosen.jobs)
    if any(statuses):
        return 1  # what an earlier run has left in an arm's folder is not drawn
    plot = [sys.executable, "-m", "experiments.arithmetic.plot", chosen.runs]
    plot += ["--output", chosen.output]
    return subprocess.run(plot, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
