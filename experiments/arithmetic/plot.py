"""Plots and table of the arithmetic study, after STaR's Figure 4.

    python -m experiments.arithmetic.plot RUNS [--output FOLDER]

RUNS holds one run folder for each arm and seed: rationalize-seed0, no_rationalize-seed0,
direct-seed0, ... Written are digits.png (accuracy per number of digits), overall.png,
wrong_steps.png and table.md.
"""

import argparse
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from experiments.arms import Arm, Run, by_arm, load
from star_jax.reporting import plot as plots
from star_jax.storage import files

# Folder name -> arm, in the order of the plots; the colours are of Okabe and Ito's palette.
ARMS = {
    "rationalize": Arm("STaR with rationalization", "#0072B2"),
    "no_rationalize": Arm("STaR without rationalization", "#D55E00"),
    "direct": Arm("direct answers, no scratchpad", "#008060"),
}
PAPER_STAR, PAPER_DIRECT = 0.895, 0.763  # Zelikman et al. (2022), section 4.3


def draw(
    axes: Axes,
    runs: Sequence[Run],
    value: Callable[[dict[str, Any]], float | None],
    color: str,
    linestyle: str = "-",
) -> tuple[float, float] | None:
    """Draws the mean over the seeds of a share, and each seed as a thin line behind it.

    Args:
        axes: where to draw, in percent.
        runs: the seeds of one arm.
        value: a round's share, 0..1, or None where the round has none.
        color: of all these lines.
        linestyle: of the mean.

    Returns:
        (round, percent) at the end of the mean, or None if no round has a value in every seed.
    """
    curves = [{r["round"]: value(r) for r in run.rounds} for run in runs]
    known = [
        {n: 100 * share for n, share in curve.items() if share is not None} for curve in curves
    ]
    for curve in known if len(known) > 1 else []:
        axes.plot(*_xy(curve), color=color, linewidth=0.8, alpha=0.4)
    # A mean over fewer seeds would jump where a seed ends: take the rounds that all of them have.
    shared = sorted(set.intersection(*(set(curve) for curve in known)))
    if not shared:
        return None
    mean = {n: sum(curve[n] for curve in known) / len(known) for n in shared}
    axes.plot(*_xy(mean), color=color, linewidth=2.2, linestyle=linestyle, marker="o", markersize=3)
    return shared[-1], mean[shared[-1]]


def _xy(curve: dict[int, float]) -> tuple[list[int], list[float]]:
    return list(curve), list(curve.values())


def plot_digits(runs: Sequence[Run], path: pathlib.Path) -> None:
    """One panel an arm: accuracy per number of digits against the round, as in Figure 4."""
    arms = by_arm(runs)
    figure = Figure(figsize=(1.0 + 4.0 * len(arms), 3.9), dpi=160, layout="constrained")
    panels = figure.subplots(1, len(arms), sharey=True, squeeze=False)[0]
    for axes, (arm, seeds) in zip(panels, arms.items(), strict=True):
        plots.dress(axes, ARMS[arm].title)
        groups = list(seeds[0].rounds[0]["accuracy_by_class"])
        labels = []
        for group, color in zip(groups, plots.ordered_colors(len(groups)), strict=True):
            end = draw(axes, seeds, lambda r, g=group: r["accuracy_by_class"][g], color)
            if end:
                labels.append(plots.Label(end, plots.group_label(group, "digits"), color))
        plots.label_ends(axes, labels, gap=7)
        axes.set_xlabel("round", color=plots.MUTED)
    panels[0].set_ylabel("held-out accuracy (%)", color=plots.MUTED)
    plots.save(figure, path)


def plot_overall(runs: Sequence[Run], path: pathlib.Path) -> None:
    """Accuracy over all of 1-5 digits against the round, an arm a line, and the paper's figures."""
    figure = Figure(figsize=(8.4, 4.6), dpi=160, layout="constrained")
    axes = figure.subplots()
    plots.dress(axes, "Held-out accuracy over 1-5 digits (%)")
    last = max(run.rounds[-1]["round"] for run in runs)
    labels = []
    for share, name in ((PAPER_STAR, "paper, STaR"), (PAPER_DIRECT, "paper, direct")):
        axes.axhline(100 * share, color="#8A8A8A", linewidth=1.0, linestyle=(0, (4, 2)))
        text = f"{name} {100 * share:.1f} %"
        labels.append(plots.Label((last, 100 * share), text, plots.MUTED))
    for arm, seeds in by_arm(runs).items():
        title, color = ARMS[arm].title, ARMS[arm].color
        end = draw(axes, seeds, lambda r: r["accuracy"], color)
        if end:
            labels.append(plots.Label(end, f"{title} {end[1]:.1f} %", color, bold=True))
    plots.label_ends(axes, labels)
    axes.set_xlabel("round", color=plots.MUTED)
    plots.save(figure, path)


def plot_wrong_steps(runs: Sequence[Run], path: pathlib.Path) -> None:
    """The share of kept rationales with a wrong scratchpad step, by how they were written."""
    figure = Figure(figsize=(8.4, 3.9), dpi=160, layout="constrained")
    axes = figure.subplots()
    plots.dress(axes, "Kept rationales with a wrong step (%)")
    labels = []
    kinds = (
        ("rationalize", "rationalized", "--", "rationalized"),
        ("rationalize", "generated", "-", "generated"),
        ("no_rationalize", "generated", "-", "generated, no rationalization"),
    )
    arms = by_arm(runs)
    for arm, kind, linestyle, name in kinds:
        if arm in arms:
            end = draw(axes, arms[arm], wrong_share(kind), ARMS[arm].color, linestyle)
            if end:
                labels.append(plots.Label(end, name, ARMS[arm].color))
    highest = max((float(np.max(line.get_ydata())) for line in axes.lines), default=0.0)
    top = max(5.0, 1.1 * highest)  # the shares may be small, and are what is to be seen
    axes.set_ylim(-0.03 * top, top)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    plots.label_ends(axes, labels, gap=0.065 * top)
    axes.set_xlabel("round", color=plots.MUTED)
    plots.save(figure, path)


def wrong_share(kind: str) -> Callable[[dict[str, Any]], float | None]:
    """Reads a round's share of kept `kind` rationales with a wrong step, None if unknown."""
    return lambda record: record.get("wrong_step_share", {}).get(kind)


def table(runs: Sequence[Run]) -> str:
    """The study's Markdown table, a row a run."""
    header = (
        "arm|seed|rounds|final accuracy, % (95 % interval)|rounds to 89.5 %|"
        "wrong steps in kept, %, first → last round: generated|rationalized|minutes"
    ).split("|")
    rows = [header, [":--"] + ["--:"] * (len(header) - 1), *(_row(run) for run in runs)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _row(run: Run) -> list[str]:
    final = run.rounds[-1]
    low, high = final["accuracy_interval"]
    reached = (str(r["round"]) for r in run.rounds if r["accuracy"] >= PAPER_STAR)
    return [
        ARMS[run.arm].title,
        str(run.seed),
        str(final["round"]),
        f"{100 * final['accuracy']:.1f} ({100 * low:.1f}–{100 * high:.1f})",
        next(reached, "–"),
        _first_last(run, "generated"),
        _first_last(run, "rationalized"),
        f"{sum(r['seconds']['total'] for r in run.rounds) / 60:.0f}",
    ]


def _first_last(run: Run, kind: str) -> str:
    shares = map(wrong_share(kind), run.rounds)
    known = [f"{100 * share:.1f}" for share in shares if share is not None]
    return f"{known[0]} → {known[-1]}" if known else "–"


def main() -> None:
    """Writes the plots and the table, and prints the table."""
    parser = argparse.ArgumentParser(description="Plots and table of the arithmetic study.")
    parser.add_argument("runs", type=pathlib.Path, help="folder of the run folders <arm>-seed<k>")
    here = pathlib.Path(__file__).parent
    parser.add_argument("--output", type=pathlib.Path, default=here, help="where to write")
    arguments = parser.parse_args()
    runs = load(arguments.runs, ARMS)
    plot_digits(runs, arguments.output / "digits.png")
    plot_overall(runs, arguments.output / "overall.png")
    plot_wrong_steps(runs, arguments.output / "wrong_steps.png")
    files.write_atomic(arguments.output / "table.md", table(runs))
    print(table(runs))


if __name__ == "__main__":
    main()
