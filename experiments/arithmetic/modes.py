"""Plot and table of what the two modes learn: held-out accuracy against updates and problems.

    python experiments/arithmetic/modes.py RUN... [--output FOLDER]

Each RUN is the folder of a run; what it is called follows from its settings. Both counts are of all
rounds so far. Written are fused.png and fused.md.
"""

import argparse
import dataclasses
import itertools
import pathlib
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from star_jax.reporting import plot as plots
from star_jax.reporting.result import RESULT
from star_jax.storage import files

COLORS = ("#0072B2", "#D55E00", "#008060", "#707070")  # after Okabe and Ito


@dataclasses.dataclass(frozen=True)
class Run:
    """A run: what it is called, and the rounds of its result."""

    name: str
    rounds: list[dict[str, Any]]

    @property
    def updates(self) -> list[int]:
        """Updates until the end of each round."""
        return list(itertools.accumulate(record["train_steps"] for record in self.rounds))

    @property
    def problems(self) -> list[int]:
        """Problems tried until the end of each round."""
        return list(itertools.accumulate(record["tried"] for record in self.rounds))


def load(path: pathlib.Path) -> Run:
    """The run in a folder.

    Raises:
        ValueError: none has come to a result there.
    """
    if not (path / RESULT).exists():
        raise ValueError(f"{path}: no {RESULT}; give the folder of a run that has begun")
    rounds = files.read_json(path / RESULT)["rounds"]
    return Run(name(files.read_json(path / "config.json")), rounds)


def name(settings: dict[str, Any]) -> str:
    """What a run with these settings is called."""
    if settings["mode"] == "rounds":
        kind = "rounds"
    else:
        kind = "online" if settings["policy_refresh_every"] else "fused, frozen policy"
    return kind if settings["rationalize"]["rehearsal"] else f"{kind}, no rehearsal"


def plot(runs: Sequence[Run], path: pathlib.Path) -> None:
    """Accuracy against updates and, beside it, against problems tried; a run a line."""
    figure = Figure(figsize=(10.0, 4.2), dpi=160, layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    _panel(panels[0], runs, [run.updates for run in runs], "updates")
    _panel(panels[1], runs, [run.problems for run in runs], "problems tried")
    panels[0].legend(loc="lower right", frameon=False, labelcolor="linecolor")
    panels[0].set_ylabel("held-out accuracy (%)", color=plots.MUTED)
    plots.save(figure, path)


def _panel(axes: Axes, runs: Sequence[Run], counts: Sequence[list[int]], what: str) -> None:
    plots.dress(axes, f"Accuracy over 1-5 digits, by {what}")
    for run, xs, color in zip(runs, counts, itertools.cycle(COLORS), strict=False):
        ys = [100 * record["accuracy"] for record in run.rounds]
        title = f"{run.name}: {ys[-1]:.1f} %"
        axes.plot(xs, ys, color=color, linewidth=2.0, marker="o", markersize=4, label=title)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel(f"{what}, of all rounds so far", color=plots.MUTED)


def table(runs: Sequence[Run]) -> str:
    """The Markdown table of the same numbers, a row a round."""
    header = (
        "mode|round|problems tried, so far|updates, so far|right at once|kept|"
        "wrong steps in kept, %: generated|rationalized|held-out accuracy, % (95 % interval)"
    ).split("|")
    rows = [header, [":--"] + ["--:"] * (len(header) - 1)]
    rows += [
        [run.name, str(record["round"]), f"{tried:,}", f"{updates:,}", *_cells(record)]
        for run in runs
        for record, tried, updates in zip(run.rounds, run.problems, run.updates, strict=True)
    ]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _cells(record: dict[str, Any]) -> list[str]:
    low, high = record["accuracy_interval"]
    wrong = (record["wrong_step_share"][kind] for kind in ("generated", "rationalized"))
    counts = (f"{record[count]:,}" if record["tried"] else "–" for count in ("correct", "kept"))
    return [
        *counts,
        *("–" if share is None else f"{100 * share:.1f}" for share in wrong),
        f"{100 * record['accuracy']:.1f} ({100 * low:.1f}–{100 * high:.1f})",
    ]


def main() -> None:
    """Writes the plot and the table, and prints the table."""
    parser = argparse.ArgumentParser(description="What the two modes learn.")
    parser.add_argument("runs", type=pathlib.Path, nargs="+", help="folders of runs")
    here = pathlib.Path(__file__).parent
    parser.add_argument("--output", type=pathlib.Path, default=here, help="where to write")
    arguments = parser.parse_args()
    runs = [load(path) for path in arguments.runs]
    plot(runs, arguments.output / "fused.png")
    files.write_atomic(arguments.output / "fused.md", table(runs))
    print(table(runs))


if __name__ == "__main__":
    main()
