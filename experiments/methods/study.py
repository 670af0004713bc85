"""Compares methods of self-training on sums of 1-5 digits, from one base model.

    python -m experiments.methods.study [--runs=runs/methods] [--seeds=3] [--jobs=2]
        [--output=FOLDER] [--config.NAME=VALUE ...]

Every arm may write 5,000 rationales a round and makes the demo's updates (120, 240 and 480 in three
rounds). Arms differ in how they spend the rationales: on 5,000 questions once; on 2,500 questions
once and on the failures once more, with the hint; or on 625 questions 8 times. All start from the
demo's base. A run that is finished is not done again, and one that was stopped goes on.
"""

import argparse
import pathlib
import subprocess
import sys
from collections.abc import Sequence

from experiments import runs

HERE = pathlib.Path(__file__).resolve().parent
CONFIG = HERE.parents[1] / "configs" / "arithmetic.py"

# Arm -> variant of the config, and settings.
ARMS: dict[str, tuple[str, Sequence[str]]] = {
    "star": ("demo", ["--config.rationalize.score_leaks=true"]),
    "no_rationalization": ("no_rationalization", ["--config.rounds.problems=5000"]),
    "rest_em": ("rest_em", []),
    "rft": ("rft", []),
    "rft_no_dedupe": ("rft", ["--config.filter.dedupe=none"]),
    "expert_iteration": ("expert_iteration", []),
    "label_free": ("label_free", []),
    "v_star": ("v_star", []),
}


def arm_command(arm: str, seed: int, folder: pathlib.Path, more: Sequence[str] = ()) -> list[str]:
    """The command line of one arm with one seed, with `more` arguments at its end."""
    variant, own = ARMS[arm]
    program = [sys.executable, "-m", "star_jax.main", f"--config={CONFIG}:{variant}"]
    workdir = folder / f"{arm}-seed{seed}"
    return [*program, f"--workdir={workdir}", f"--config.seed={seed}", *own, *more]


def verifier_commands(seed: int, folder: pathlib.Path) -> list[list[str]]:
    """The command lines that train a verifier from V-STaR's run, and rank 16 candidates with it."""
    run, verifier = folder / f"v_star-seed{seed}", folder / f"verifier-seed{seed}"
    python = (sys.executable, "-m")
    return [
        [*python, "star_jax.verifier", f"--run={run}", f"--workdir={verifier}"],
        [
            *(*python, "star_jax.evaluate", f"--config={CONFIG}", f"--model={run}"),
            *("--split=development", "--samples=16", "--config.sampler.temperature=0.7"),
            *(f"--verifier={verifier}", f"--workdir={folder / f'best_of_k-seed{seed}'}"),
        ],
    ]


def main() -> int:
    """Runs what is missing, `--jobs` at a time, and draws what there is; 0 if all went well."""
    parser = argparse.ArgumentParser(description="Methods on arithmetic.", allow_abbrev=False)
    parser.add_argument("--runs", type=pathlib.Path, default=pathlib.Path("runs/methods"))
    parser.add_argument("--arms", default=",".join(ARMS), help="arms to run, with commas")
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0, 1, ... of each arm")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, each on a core")
    parser.add_argument("--output", type=pathlib.Path, default=HERE, help="folder of the plot")
    chosen, more = parser.parse_known_args()
    arms = chosen.arms.split(",")
    if unknown := [arm for arm in arms if arm not in ARMS]:
        parser.error(f"--arms: {', '.join(unknown)} must be of {', '.join(ARMS)}")
    chosen.runs.mkdir(parents=True, exist_ok=True)
    todo = [
        arm_command(arm, seed, chosen.runs, more) for seed in range(chosen.seeds) for arm in arms
    ]
    if any(runs.run_all(todo, chosen.jobs)):
        return 1  # what an earlier run has left in an arm's folder is not drawn
    for seed in range(chosen.seeds) if "v_star" in arms else ():
        if any(runs.run(line) for line in verifier_commands(seed, chosen.runs)):
            return 1
    plot = [sys.executable, "-m", "experiments.methods.plot", str(chosen.runs)]
    return subprocess.run([*plot, "--output", str(chosen.output)], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
