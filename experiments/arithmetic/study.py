"""Runs the arithmetic study, after STaR's Figure 4: three arms, several seeds, then the plots.

    python experiments/arithmetic/study.py --runs=runs/study [--seeds=3] [--jobs=2] [--rounds=...]

The arms have the same base model, problems and training steps: with rationalization, without, and
direct answers without a scratchpad. A run that is finished is not done again, and one that was
stopped goes on, so the same command resumes the study.
"""

import argparse
import concurrent.futures
import os
import pathlib
import subprocess
import sys

# Without experiments/ on the path a study still finds its neighbour.
ROOT = pathlib.Path(__file__).resolve().parents[2]
ARMS = {
    "rationalize": [],
    "no_rationalize": ["--config.rationalize.enabled=false"],
    "direct": ["--config.method=direct"],
}


def command(arm: str, seed: int, runs: pathlib.Path, more: list[str]) -> list[str]:
    """The command line of one run."""
    return [
        *(sys.executable, "-m", "star_jax.main"),
        f"--config={ROOT / 'configs' / 'arithmetic.py'}:study",
        f"--workdir={runs / f'{arm}-seed{seed}'}",
        f"--config.seed={seed}",
        *ARMS[arm],
        *more,
    ]


def run(arm: str, seed: int, runs: pathlib.Path, more: list[str], core: int | None) -> int:
    """Runs one arm with one seed to its end, its output in a log beside its folder."""
    pin = {} if core is None else {"preexec_fn": lambda: os.sched_setaffinity(0, {core})}
    runs.mkdir(parents=True, exist_ok=True)
    with (runs / f"{arm}-seed{seed}.log").open("a") as log:
        print(f"{arm}, seed {seed}: started", flush=True)
        done = subprocess.run(
            command(arm, seed, runs, more), stdout=log, stderr=subprocess.STDOUT, check=False, **pin
        )
    print(
        f"{arm}, seed {seed}: {'done' if done.returncode == 0 else 'FAILED, see its log'}",
        flush=True,
    )
    return done.returncode


def main() -> int:
    """Runs what is missing, one run a core, and draws what there is."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=pathlib.Path, default=pathlib.Path("runs/study"))
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0, 1, ... of each arm")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, each on a core")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path(__file__).parent)
    chosen, more = parser.parse_known_args()
    todo = [(arm, seed) for seed in range(chosen.seeds) for arm in ARMS]
    cores = [None] * chosen.jobs
    if hasattr(os, "sched_setaffinity") and chosen.jobs > 1:
        cores = sorted(os.sched_getaffinity(0))[: chosen.jobs]
    free = list(cores)
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(chosen.jobs) as pool:

        def one(arm: str, seed: int) -> int:
            core = free.pop()
            try:
                return run(arm, seed, chosen.runs, more, core)
            finally:
                free.append(core)

        failed = sum(bool(code) for code in pool.map(lambda pair: one(*pair), todo))
    plot = pathlib.Path(__file__).with_name("plot.py")
    subprocess.run([sys.executable, plot, chosen.runs, "--output", chosen.output], check=True)
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
