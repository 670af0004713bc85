"""Table and plot of the methods' study.

    python -m experiments.methods.plot RUNS [--output FOLDER]

RUNS holds a run folder for each arm and seed, as study.py makes them. Written are methods.png
(held-out accuracy by generated tokens) and table.md.
"""

import argparse
import dataclasses
import itertools
import pathlib
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from experiments.arithmetic import plot as arithmetic
from experiments.methods.study import ARMS
from star_jax.grading import ledger, statistics
from star_jax.reporting import plot as plots
from star_jax.storage import files, run_dir

# Arm -> (title, colour, after Okabe and Ito; grey for what differs in one setting).
TITLES = {
    "star": ("STaR", "#0072B2"),
    "no_rationalization": ("STaR without rationalization", "#56B4E9"),
    "rest_em": ("ReST-EM", "#D55E00"),
    "rft": ("RFT", "#008060"),
    "rft_no_dedupe": ("RFT without dedupe", "#8A8A8A"),
    "expert_iteration": ("expert iteration", "#CC79A7"),
    "label_free": ("label-free", "#7A5A00"),
    "v_star": ("V-STaR's generator", "#000000"),
}


@dataclasses.dataclass(frozen=True)
class Run(arithmetic.Run):
    """One run of the study.

    Attributes:
        tokens: tokens generated to train on until the end of each round, from 0 at the base.
    """

    tokens: list[int]


def load(folder: pathlib.Path) -> list[Run]:
    """The finished runs in `folder`, by arm in the order of `ARMS`, then by seed.

    Raises:
        ValueError: there is none.
    """
    return [
        Run(
            run.arm,
            run.seed,
            run.rounds,
            _tokens(folder / f"{run.arm}-seed{run.seed}", len(run.rounds)),
        )
        for run in arithmetic.load(folder, ARMS)
    ]


def _tokens(folder: pathlib.Path, rounds: int) -> list[int]:
    """Returns the tokens that a run has generated until the end of each round."""
    each = [
        sum(
            sample.tokens
            for phase in ("samples", "rationalized")
            for sample in ledger.read_shards(run_dir.ledger(folder, number), phase)
        )
        for number in range(1, rounds)
    ]
    return [0, *itertools.accumulate(each)]


def draw(runs: Sequence[Run], path: pathlib.Path) -> None:
    """Draws accuracy against generated tokens: the mean of an arm's seeds, and each seed thin."""
    figure = Figure(figsize=(8.4, 5.0), dpi=160, layout="constrained")
    axes = figure.subplots()
    plots.dress(axes, "Held-out accuracy over 1-5 digits (%)")
    labels = []
    for arm, seeds in arithmetic.by_arm(runs).items():
        title, color = TITLES[arm]
        curves = [_curve(run) for run in seeds]
        for xs, ys in curves if len(curves) > 1 else ():
            axes.plot(xs, ys, color=color, linewidth=0.8, alpha=0.4)
        length = min(len(xs) for xs, _ in curves)
        mean = [
            [_mean([curve[axis][n] for curve in curves]) for n in range(length)] for axis in (0, 1)
        ]
        axes.plot(*mean, color=color, linewidth=2.2, marker="o", markersize=3)
        text = f"{title} {mean[1][-1]:.1f} %"
        labels.append(plots.Label((mean[0][-1], mean[1][-1]), text, color, bold=True))
    plots.label_ends(axes, labels)
    axes.set_xlabel("tokens generated to train on (thousands)", color=plots.MUTED)
    plots.save(figure, path)


def _curve(run: Run) -> tuple[list[float], list[float]]:
    return (
        [tokens / 1000 for tokens in run.tokens],
        [100 * record["accuracy"] for record in run.rounds],
    )


def table(runs: Sequence[Run]) -> str:
    """The study's Markdown table: a row an arm, its seeds together."""
    header = (
        "method|seeds|accuracy after each round, %, mean of the seeds|last round of each seed, % "
        "(95 % interval)|tokens generated, thousands|kept a round|wrong steps in kept, %|"
        "right labels, %|minutes"
    ).split("|")
    rows = [header, [":--"] + ["--:"] * (len(header) - 1)]
    rows += [_row(arm, seeds) for arm, seeds in arithmetic.by_arm(runs).items()]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _row(arm: str, seeds: Sequence[Run]) -> list[str]:
    trained = [record for run in seeds for record in run.rounds[1:]]
    means = [
        statistics.mean([run.rounds[n]["accuracy"] for run in seeds]).value
        for n in range(min(len(run.rounds) for run in seeds))
    ]
    last = (run.rounds[-1] for run in seeds)
    ends = [(r["accuracy"], *r["accuracy_interval"]) for r in last]
    labels = [r["labels"]["accuracy"] for r in trained if "labels" in r]
    return [
        TITLES[arm][0],
        str(len(seeds)),
        " → ".join(f"{100 * value:.1f}" for value in means),
        ", ".join(f"{100 * x:.1f} ({100 * low:.0f}–{100 * high:.0f})" for x, low, high in ends),
        f"{_mean([run.tokens[-1] for run in seeds]) / 1000:,.0f}",
        f"{_mean([record['kept'] for record in trained]):,.0f}",
        _wrong(trained),
        f"{100 * _mean(labels):.1f}" if labels else "–",
        f"{_mean([sum(r['seconds']['total'] for r in run.rounds) for run in seeds]) / 60:.0f}",
    ]


def _wrong(rounds: Sequence[dict[str, Any]]) -> str:
    """The mean share of wrong steps, generated / rationalized, over rounds that kept any."""
    shares = {
        kind: [s for r in rounds if (s := r["wrong_step_share"][kind]) is not None]
        for kind in ("generated", "rationalized")
    }
    return " / ".join(f"{100 * _mean(found):.1f}" if found else "–" for found in shares.values())


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def main() -> None:
    """Writes the plot and the table, and prints the table."""
    parser = argparse.ArgumentParser(description="Plot and table of the methods' study.")
    parser.add_argument("runs", type=pathlib.Path, help="folder of the run folders <arm>-seed<k>")
    here = pathlib.Path(__file__).parent
    parser.add_argument("--output", type=pathlib.Path, default=here, help="where to write")
    arguments = parser.parse_args()
    found = load(arguments.runs)
    arguments.output.mkdir(parents=True, exist_ok=True)
    draw(found, arguments.output / "methods.png")
    files.write_atomic(arguments.output / "table.md", table(found))
    print(table(found))


if __name__ == "__main__":
    main()
