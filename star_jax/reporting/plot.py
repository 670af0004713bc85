"""Plots the rounds of a run."""

import dataclasses
import io
import math
from collections.abc import Sequence
from typing import Any

import matplotlib
from etils import epath
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from star_jax.storage import files

PLOT = "accuracy.png"

# Blue and vermilion of Okabe and Ito's palette: told apart with any colour vision.
GENERATED, RATIONALIZED = "#0072B2", "#D55E00"
INK, MUTED, GRID = "#222222", "#666666", "#E4E4E4"


@dataclasses.dataclass(frozen=True)
class Label:
    """The name of a line in a plot, written at the line's right end.

    Attributes:
        end: (round, percent) of the line's right end.
        text: name of the line.
        color: colour of the line.
        bold: True for a main line, whose label is bold.
    """

    end: tuple[float, float]
    text: str
    color: str
    bold: bool = False


def plot(outcome: dict[str, Any], path: epath.PathLike, unit: str = "") -> None:
    """Draws accuracy per group over the rounds, and beneath it the kept rationales' wrong steps.

    Args:
        outcome: result of a run, from `result.result`.
        path: path of the PNG, which is written atomically.
        unit: noun that a group counts, for the labels: with "digits", group '3' is "3 digits".
    """
    rounds = outcome["rounds"]
    with_steps = any(_shares(rounds, kind) for kind in ("generated", "rationalized"))
    figure = Figure(figsize=(8.4, 6.6 if with_steps else 4.6), dpi=160, layout="constrained")
    panels = figure.subplots(
        2 if with_steps else 1,
        1,
        sharex=True,
        squeeze=False,
        height_ratios=[3, 1.3] if with_steps else [1],
    )[:, 0]
    _plot_accuracy(panels[0], rounds, unit)
    if with_steps:
        _plot_wrong_steps(panels[1], rounds)
    panels[-1].set_xlabel("round (0 is the base model)", color=MUTED)
    panels[-1].set_xlim(-0.15, len(rounds) - 1 + 0.15)
    save(figure, path)


def _plot_accuracy(axes: Axes, rounds: Sequence[dict[str, Any]], unit: str) -> None:
    dress(axes, "Held-out accuracy (%)")
    xs = [record["round"] for record in rounds]
    labels = []
    inside = list(rounds[0]["accuracy_by_class"])
    outside = list(rounds[0].get("out_of_distribution", {}))
    for group, color in zip(inside, ordered_colors(len(inside)), strict=True):
        ys = [100 * record["accuracy_by_class"][group] for record in rounds]
        axes.plot(xs, ys, color=color, linewidth=1.7, marker="o", markersize=3)
        labels.append(Label((xs[-1], ys[-1]), group_label(group, unit), color))
    for group in outside:
        ys = [100 * record["out_of_distribution"][group] for record in rounds]
        axes.plot(xs, ys, color="#8A8A8A", linewidth=1.0, linestyle=(0, (4, 2)))
        labels.append(Label((xs[-1], ys[-1]), group_label(group, unit) + " (unseen)", MUTED))
    if any(record["accuracy"] is None for record in rounds):
        axes.text(0.5, 0.5, "the data has no answers", transform=axes.transAxes, ha="center")
        return
    ys = [100 * record["accuracy"] for record in rounds]
    axes.plot(xs, ys, color=INK, linewidth=3.2, marker="o", markersize=5)
    labels.insert(0, Label((xs[-1], ys[-1]), f"overall {ys[-1]:.1f} %", INK, bold=True))
    label_ends(axes, labels)


def _plot_wrong_steps(axes: Axes, rounds: Sequence[dict[str, Any]]) -> None:
    dress(axes, "Kept rationales with a wrong step (%)")
    labels = []
    for kind, color in (("generated", GENERATED), ("rationalized", RATIONALIZED)):
        points = _shares(rounds, kind)
        if points:
            xs, ys = zip(*points, strict=True)
            axes.plot(xs, ys, color=color, linewidth=1.7, marker="o", markersize=3)
            labels.append(Label(points[-1], kind, color))
    label_ends(axes, labels, gap=17)


def _shares(rounds: Sequence[dict[str, Any]], kind: str) -> list[tuple[int, float]]:
    """Returns (round, percent of the kept `kind` rationales with a wrong step) where known."""
    shares = [(r["round"], r.get("wrong_step_share", {}).get(kind)) for r in rounds]
    return [(number, 100 * share) for number, share in shares if share is not None]


def ordered_colors(count: int) -> list[str]:
    """Returns `count` colours for ordered groups, dark to light, in grey too (viridis)."""
    # Viridis ends in a yellow that vanishes on white: stop before it.
    colormap = matplotlib.colormaps["viridis"]
    return [to_hex(colormap(0.78 * index / max(1, count - 1))) for index in range(count)]


def group_label(group: str, unit: str) -> str:
    """The group with its unit: "3 digits", "1 digit", or the bare group without a unit."""
    return f"{group} {unit.removesuffix('s') if group == '1' else unit}".strip()


def dress(axes: Axes, title: str) -> None:
    """Gives `axes` the plots' look: 0 to 100 percent, whole rounds, a quiet grid, no frame."""
    axes.set_title(title, loc="left", fontsize=11, color=INK)
    axes.set_ylim(-3, 103)
    axes.set_yticks(range(0, 101, 20))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, colors=MUTED)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color("#BBBBBB")


def label_ends(axes: Axes, labels: Sequence[Label], gap: float = 6.5) -> None:
    """Writes each line's name at its right end, so that no legend is needed.

    Args:
        axes: axes of the lines, y in percent.
        labels: labels of all lines; of lines that end together, the first is on top.
        gap: least distance between two labels, in percent of accuracy.
    """
    # Lines that end about together keep the order of the labels, the first of them on top.
    order = sorted(
        range(len(labels)), key=lambda index: (round(labels[index].end[1] / gap), -index)
    )
    heights = spread([labels[index].end[1] for index in order], gap, low=0.0, high=100.0)
    for index, height in zip(order, heights, strict=True):
        label = labels[index]
        axes.annotate(
            label.text,
            xy=label.end,
            xytext=(1.035, height),
            textcoords=axes.get_yaxis_transform(),
            color=label.color,
            fontsize=9,
            fontweight="bold" if label.bold else "normal",
            verticalalignment="center",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": label.color,
                "linewidth": 0.6,
                "relpos": (0, 0.5),
            },
        )


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Moves positions apart, in their order upwards, until neighbours are at least `gap` apart.

    Args:
        wanted: positions, roughly ascending.
        gap: least distance between neighbours.
        low: lower limit of the first position; exceeded if there is no space for all.
        high: upper limit of the last position.
    """

    def push(positions: Sequence[float], floor: float) -> list[float]:
        pushed: list[float] = []
        for position in positions:
            pushed.append(max(position, pushed[-1] + gap if pushed else floor))
        return pushed

    def push_down(positions: Sequence[float], ceiling: float) -> list[float]:
        return [-p for p in reversed(push([-q for q in reversed(positions)], -ceiling))]

    # Both keep the distances, so their mean does too, and close positions move to both sides.
    up, down = push(wanted, -math.inf), push_down(wanted, math.inf)
    middle = [(a + b) / 2 for a, b in zip(up, down, strict=True)]
    return push_down(push(middle, low), high)


def save(figure: Figure, path: epath.PathLike) -> None:
    """Writes the figure as a PNG, atomically."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor="white")
    files.write_atomic(path, buffer.getvalue())
