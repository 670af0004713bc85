"""Runs the arms of the paper's Tables 1 and 2 on a small model, and writes their table.

The studies are in the folders gsm8k_smollm2 and commonsense_qa_smollm2; this is what they share.
Every arm is `star_jax.main` with one config and a few settings, so an arm that is finished is not
done again, and one that was stopped goes on.
"""

import argparse
import json
import pathlib
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

# Name in the table -> settings, in the paper's order. Direct fine-tuning gets as many updates as
# STaR does in its third round.
ARMS: Mapping[str, Sequence[str]] = {
    "Few-shot direct": ("--config.method=direct", "--config.rounds.count=0"),
    "Few-shot with rationales": ("--config.rounds.count=0",),
    "Direct fine-tuning": (
        *("--config.method=direct", "--config.rounds.count=1", "--config.train.first_steps=18"),
    ),
    "STaR without rationalization": ("--config.rationalize.enabled=false",),
    "STaR with rationalization": (),
}


def command(
    config: str, arm: str, seed: int, runs: pathlib.Path, more: Sequence[str] = ()
) -> list[str]:
    """The command line of one arm with one seed; what makes it this arm comes after `more`."""
    workdir = runs / f"{arm.lower().replace(' ', '-')}-seed{seed}"
    program = [sys.executable, "-m", "star_jax.main", f"--config={config}"]
    return [*program, f"--workdir={workdir}", *more, f"--config.seed={seed}", *ARMS[arm]]


def row(arm: str, outcome: Mapping[str, Any]) -> str:
    """An arm's line of the table, from its result.json."""
    test, best = outcome["test"], outcome["rounds"][outcome["best_round"]]
    low, high = test["accuracy_interval"]
    cells = [
        arm,
        f"{100 * test['accuracy']:.1f} ({100 * low:.1f}-{100 * high:.1f})",
        f"{100 * test['evaluation']['flexible_accuracy']:.1f}",
        f"{100 * best['accuracy']:.1f}",
        str(best["round"]),
        _used(arm, outcome["rounds"]),
        str(outcome["rounds"][-1]["train_steps"]),
        f"{sum(record['seconds']['total'] for record in outcome['rounds']) / 60:.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def _used(arm: str, rounds: Sequence[Mapping[str, Any]]) -> str:
    """Share of the training questions that the last round trained on."""
    last = rounds[-1]
    if len(rounds) == 1:
        return ""
    if "STaR" not in arm:
        return "100"
    kept, right = last["kept"] / last["tried"], last["correct"] / last["tried"]
    shares = f"{100 * right:.1f} + {100 * (kept - right):.1f}"
    return f"{100 * kept:.1f} ({shares})" if last["rationalized"] else f"{100 * kept:.1f}"


HEADER = (
    "| | test, % (95 %) | flexible rule, % | development, % | round | training questions used, % "
    "| updates | minutes |\n|---|---|---|---|---|---|---|---|"
)


def table(found: Mapping[str, Mapping[str, Any]]) -> str:
    """The table of those arms that are done, in the paper's order: arm -> its result.json."""
    return "\n".join([HEADER, *(row(arm, found[arm]) for arm in ARMS if arm in found)]) + "\n"


def main(config: str, here: pathlib.Path, subset: Sequence[str]) -> int:
    """Runs what is missing and writes the tables; 0 if all went well.

    Args:
        config: of all arms, a file with its variant.
        here: folder of the study, where table-seed<n>.md goes.
        subset: settings that make it small.
    """
    parser = argparse.ArgumentParser(description=f"The study in {here.name}.", allow_abbrev=False)
    parser.add_argument("--runs", type=pathlib.Path, default=pathlib.Path("runs") / here.name)
    parser.add_argument("--seeds", type=int, default=1, help="seeds 0, 1, ... of each arm")
    parser.add_argument("--output", type=pathlib.Path, default=here, help="folder of the tables")
    chosen, more = parser.parse_known_args()
    chosen.runs.mkdir(parents=True, exist_ok=True)
    failed = False
    for seed in range(chosen.seeds):
        found = {}
        for arm in ARMS:
            line = command(config, arm, seed, chosen.runs, [*subset, *more])
            (workdir,) = (flag.partition("=")[2] for flag in line if "--workdir=" in flag)
            print(f"{workdir}: started", flush=True)
            with pathlib.Path(f"{workdir}.log").open("a") as log:
                status = subprocess.run(line, stdout=log, stderr=subprocess.STDOUT, check=False)
            failed |= bool(status.returncode)
            print(f"{workdir}: {'FAILED, see its log' if status.returncode else 'done'}")
            result = pathlib.Path(workdir) / "result.json"
            if not status.returncode and "test" in (outcome := json.loads(result.read_text())):
                found[arm] = outcome
                (chosen.output / f"table-seed{seed}.md").write_text(table(found))
    return int(failed)
