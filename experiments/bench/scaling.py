"""How the cost of sampling grows: time and memory against questions, rows, lengths and the model.

    python -m experiments.bench.scaling [--repeats=3] [--json=FILE] [--plot=FILE.png]

One size grows at a time, the others are those of `scaling_point.Point`; each point is a process of
its own, the fastest of `--repeats` counts. The exponent is the slope over the upper half of the
sizes, in doubly logarithmic scale; `CAUSE` has that of the operations. All numbers of rows have the
same questions.
"""

import argparse
import dataclasses
import json
import pathlib
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from rich import box
from rich.console import Console
from rich.progress import track
from rich.table import Table

from experiments.bench.scaling_point import Measured, Point

SIZES: dict[str, tuple[int, ...]] = {
    "questions": (64, 128, 256, 512),
    "rows": (16, 32, 64, 128),
    "prompt": (64, 128, 256, 512),
    "tokens": (32, 64, 128, 256),
    "width": (128, 256, 512, 1024),
    "layers": (2, 4, 8, 16),
}
BASES = {"rows": Point(questions=512)}  # as many for all numbers of rows
# How the operations grow: those of attention with the square of lengths, the others with lengths.
CAUSE = dict.fromkeys(SIZES, "1") | {"rows": "0", "prompt": "1-2", "tokens": "1-2", "width": "2"}


@dataclasses.dataclass(frozen=True)
class Growth:
    """One size and what it costs.

    Attributes:
        sizes: that were measured.
        points: what each took.
        time_exponent, memory_exponent: over the upper half of the sizes.
    """

    sizes: list[int]
    points: list[Measured]
    time_exponent: float
    memory_exponent: float


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Slope of the upper half, in doubly logarithmic scale."""
    half = len(sizes) // 2
    x, y = (np.log(values[half - 1 :]) for values in (sizes, costs))
    return float(np.polyfit(x, y, 1)[0])


def measure(point: Point, repeats: int) -> Measured:
    """The fastest of some processes.

    Raises:
        subprocess.CalledProcessError: one failed; its standard error has been shown.
    """
    flags = [f"--{name}={value}" for name, value in vars(point).items()]
    command = [sys.executable, "-m", "experiments.bench.scaling_point", *flags]
    found = []
    for _ in range(repeats):
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found.append(Measured(**json.loads(done.stdout.splitlines()[-1])))
    return min(found, key=lambda one: one.seconds)


def grow(repeats: int, sizes: dict[str, tuple[int, ...]] = SIZES) -> dict[str, Growth]:
    """Measures every size of every kind."""
    work = [(name, size) for name, each in sizes.items() for size in each]
    found: dict[str, list[Measured]] = {name: [] for name in sizes}
    for name, size in track(work, "measuring", console=Console(stderr=True)):
        base = BASES.get(name, Point())
        found[name].append(measure(dataclasses.replace(base, **{name: size}), repeats))
    return {name: _growth(sizes[name], points) for name, points in found.items()}


def _growth(sizes: Sequence[int], points: list[Measured]) -> Growth:
    costs = ([one.seconds for one in points], [one.peak_mib for one in points])
    return Growth(list(sizes), points, *(exponent(sizes, cost) for cost in costs))


def show(console: Console, found: dict[str, Growth]) -> None:
    """Prints a table, with the exponents of time and memory, and of the operations."""
    table = Table(box=box.SIMPLE, show_edge=False)
    for header in ("", "sizes", "seconds", "MiB", "time^", "work^", "memory^"):
        table.add_column(header, justify="right" if header else "left")
    for name, one in found.items():
        seconds = " ".join(f"{point.seconds:.2f}" for point in one.points)
        memory = " ".join(f"{point.peak_mib:.0f}" for point in one.points)
        exponents = (f"{one.time_exponent:.2f}", CAUSE[name], f"{one.memory_exponent:.2f}")
        table.add_row(name, " ".join(map(str, one.sizes)), seconds, memory, *exponents)
    console.print(table)


def plot(found: dict[str, Growth], path: pathlib.Path) -> None:
    """Draws time and memory over each size, relative to the smallest."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots(1, 2)
    kinds = (("time", "time_exponent", "seconds"), ("peak memory", "memory_exponent", "peak_mib"))
    for axis, (title, slope, field) in zip(axes, kinds, strict=True):
        for name, one in found.items():
            costs = [getattr(point, field) for point in one.points]
            x = [size / one.sizes[0] for size in one.sizes]
            y = [cost / costs[0] for cost in costs]
            axis.plot(x, y, marker="o", label=f"{name}: {getattr(one, slope):.2f}")
        axis.plot([1, 8], [1, 8], color="grey", linestyle=":", label="as its size: 1")
        axis.set(xscale="log", yscale="log", title=title)
        axis.set(xlabel="size, the smallest = 1", ylabel="cost, of the smallest = 1")
        axis.set_xticks([1, 2, 4, 8], labels=["1", "2", "4", "8"])
        axis.set_yticks([1, 2, 4, 8], labels=["1", "2", "4", "8"])
        axis.minorticks_off()
        axis.legend(title="exponent", fontsize=8)
    figure.savefig(path, dpi=120)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=pathlib.Path, help="where to write the figures too")
    parser.add_argument("--plot", type=pathlib.Path, help="where to draw them")
    given = parser.parse_args(arguments)
    found = grow(given.repeats)
    show(Console(), found)
    if given.json:
        figures = {name: dataclasses.asdict(one) for name, one in found.items()}
        given.json.write_text(json.dumps(figures, indent=2) + "\n")
    if given.plot:
        plot(found, given.plot)


if __name__ == "__main__":
    main()
