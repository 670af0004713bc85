"""What a run leaves to be read: `result.json`, `metrics.jsonl` and the plot of its rounds.

A round is a dict as in `result.json`. `star_jax.reporting.console` shows the same on the terminal.
"""

import dataclasses
import io
import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
from etils import epath
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from star_jax.storage import files

RESULT = "result.json"
METRICS = "metrics.jsonl"
PLOT = "accuracy.png"

# The fields that differ between two runs of one configuration: they are measured, not computed.
MEASURED = ("compilations", "host_share", "seconds", "slots_occupied")

# Blue and vermilion of Okabe and Ito's palette: told apart with any colour vision.
GENERATED, RATIONALIZED = "#0072B2", "#D55E00"
INK, MUTED, GRID = "#222222", "#666666", "#E4E4E4"


@dataclasses.dataclass(frozen=True)
class Label:
    """The name of a line in a plot, to be written at its right end.

    Attributes:
        end: (round, percent) where the line ends.
        text: the name.
        color: the line's.
        bold: whether it is one of the lines that matter most.
    """

    end: tuple[float, float]
    text: str
    color: str
    bold: bool = False


def result(rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The content of `result.json`.

    Args:
        rounds: the rounds so far in order, each with at least `round` and `accuracy` (0..1);
            the first is round 0, the base model.

    Returns:
        base_accuracy, accuracy (the last round's), best_round (the earliest best) and rounds.

    Raises:
        ValueError: the rounds are not 0, 1, 2, ...
    """
    numbers = [record["round"] for record in rounds]
    if not numbers or numbers != list(range(len(numbers))):
        raise ValueError(f"a result needs the rounds 0, 1, 2, ... in order; got {numbers}")
    best = max(rounds, key=lambda record: (record["accuracy"], -record["round"]))
    return {
        "base_accuracy": rounds[0]["accuracy"],
        "accuracy": rounds[-1]["accuracy"],
        "best_round": best["round"],
        "rounds": list(rounds),
    }


def deterministic(value: Any) -> Any:
    """`value`, such as a result, without the MEASURED fields at any depth.

    Two runs with one configuration and seed agree in this, however often they were interrupted.
    """
    if isinstance(value, dict):
        return {key: deterministic(item) for key, item in value.items() if key not in MEASURED}
    if isinstance(value, list):
        return [deterministic(item) for item in value]
    return value


def append_metrics(path: epath.PathLike, record: dict[str, Any]) -> None:
    """Appends `record` to the metrics file as one JSON line.

    Appended, not written whole: a round has thousands of lines, and the worst that a kill leaves is
    a torn last line, which `truncate_metrics` drops.

    Raises:
        ValueError: a number in the record is not finite.
    """
    try:
        line = json.dumps(record, allow_nan=False)
    except ValueError as error:
        raise ValueError(
            f"{path}: a metric is not finite in {record}; has training diverged? "
            "Lower config.train.learning_rate."
        ) from error
    files.append_line(path, line)


def read_metrics(path: epath.PathLike) -> list[dict[str, Any]]:
    """The whole records of a metrics file; a torn last line is left out, a missing file is empty.

    Raises:
        ValueError: a line that is not the last is no JSON object.
    """
    if not epath.Path(path).exists():
        return []
    lines = epath.Path(path).read_bytes().decode("utf-8", errors="replace").splitlines()
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            records.append(_json_object(line))
        except ValueError as error:
            if number < len(lines):
                raise ValueError(f"{path} line {number}: {error}; remove that line") from error
    return records


def _json_object(line: str) -> dict[str, Any]:
    record = json.loads(line)
    if not isinstance(record, dict):
        raise ValueError(f"a metrics line must be a JSON object, not {line!r}")
    return record


def truncate_metrics(path: epath.PathLike, keep: Callable[[dict[str, Any]], bool]) -> None:
    """Drops the torn last line and the records that are to be made again, in one atomic write.

    Called on resume, before anything is appended. A missing file stays missing.

    Args:
        path: the metrics file.
        keep: whether a record is of work that is not redone.

    Raises:
        ValueError: a line that is not the last is no JSON object.
    """
    if epath.Path(path).exists():
        kept = [record for record in read_metrics(path) if keep(record)]
        files.write_atomic(path, "".join(json.dumps(record) + "\n" for record in kept))


def plot(outcome: dict[str, Any], path: epath.PathLike, unit: str = "") -> None:
    """Draws accuracy per group over the rounds, and beneath it the kept rationales' wrong steps.

    Args:
        outcome: a result, as `result` makes it.
        path: the PNG to write, atomically.
        unit: what a group counts, for the labels: with "digits", group '3' is "3 digits".
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
    """(round, percent of the kept `kind` rationales with a wrong step), where that is known."""
    shares = [(r["round"], r.get("wrong_step_share", {}).get(kind)) for r in rounds]
    return [(number, 100 * share) for number, share in shares if share is not None]


def ordered_colors(count: int) -> list[str]:
    """`count` colours for ordered groups, dark to light, ordered in grey too (viridis)."""
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
        axes: where the lines are, y in percent.
        labels: of all lines, the first of those that end together on top.
        gap: the least distance between two labels, in percent of accuracy.
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
        wanted: positions, about ascending.
        gap: the least distance between neighbours.
        low: where the first may lie at the lowest; given up where there is no room for all.
        high: where the last may lie at the highest.
    """

    def push(positions: Sequence[float], floor: float) -> list[float]:
        pushed: list[float] = []
        for position in positions:
            pushed.append(max(position, pushed[-1] + gap if pushed else floor))
        return pushed

    def push_down(positions: Sequence[float], ceiling: float) -> list[float]:
        return [-p for p in reversed(push([-q for q in reversed(positions)], -ceiling))]

    # Both keep the distances, so their mean does too, and a crowd spreads to both sides.
    up, down = push(wanted, -math.inf), push_down(wanted, math.inf)
    middle = [(a + b) / 2 for a, b in zip(up, down, strict=True)]
    return push_down(push(middle, low), high)


def save(figure: Figure, path: epath.PathLike) -> None:
    """Writes the figure as a PNG, atomically."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor="white")
    files.write_atomic(path, buffer.getvalue())
