"""Prints to the terminal: progress inside a phase, the rounds' tables, the files of a finished run.

A round is a dict as in `result.json`. A missing field (the base model has no problems tried) is a
dash in the table. Everything fits 80 columns.
"""

import collections
import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from etils import epath
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from star_jax.grading.diversity import has_collapsed
from star_jax.reporting.metrics import METRICS
from star_jax.reporting.plot import PLOT
from star_jax.reporting.result import RESULT

PHASES = ("generate", "rationalize", "train", "evaluate")
DASH = "–"


class Advance(Protocol):
    """A function that reports finished items, with the latest values to show beside the bar."""

    def __call__(self, count: int = 1, **fields: float | str) -> None:
        """Adds `count` finished items; `fields` are names and values, such as loss=0.1."""
        ...


@contextlib.contextmanager
def progress(
    console: Console, description: str, total: int, done: int = 0, every: float = 10.0
) -> Iterator[Advance]:
    """Shows the progress of a phase: a bar on a terminal, otherwise a line from time to time.

    Args:
        console: console to print to.
        description: name of the phase, such as "round 3 train".
        total: number of items of the phase.
        done: items finished before this process started, in a resumed run; not part of the rate.
        every: seconds between two lines if there is no terminal.

    Yields:
        A function that takes the number of items finished since its last call, and values to show.
    """
    show = _bar(console, description, total, done)
    if not console.is_terminal:
        show = _lines(console, description, total, done, every)
    with show as advance:
        yield advance


@contextlib.contextmanager
def _bar(console: Console, description: str, total: int, done: int) -> Iterator[Advance]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}", style="dim"),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[values]}", style="dim"),
    )
    start = time.monotonic()
    # Transient: the round's table replaces the bar, with the phase's seconds in it.
    with Progress(*columns, console=console, transient=True, refresh_per_second=4) as bar:
        task = bar.add_task(description, total=total, completed=done, rate="", values="")
        new = 0

        def advance(count: int = 1, **fields: float | str) -> None:
            nonlocal new
            new += count
            rate = _rate(new, time.monotonic() - start)
            bar.update(task, advance=count, rate=rate, values=_values(fields))

        yield advance


@contextlib.contextmanager
def _lines(
    console: Console, description: str, total: int, done: int, every: float
) -> Iterator[Advance]:
    start = last = time.monotonic()
    new, values = 0, ""

    def print_line(*parts: str) -> None:
        line = ", ".join([f"{description}: {done + new} of {total}", *filter(None, parts)])
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    def advance(count: int = 1, **fields: float | str) -> None:
        nonlocal new, last, values
        new, values, now = new + count, _values(fields), time.monotonic()
        if now - last >= every and done + new < total:
            last = now
            left = (now - start) * (total - done - new) / new if new else 0.0
            print_line(_rate(new, now - start), f"{left:.0f} s left" if new else "", values)

    print_line()
    yield advance
    seconds = time.monotonic() - start
    print_line(f"{seconds:.1f} s", _rate(new, seconds), values)


def _rate(count: int, seconds: float) -> str:
    """Returns items per second, or seconds per item if slow; '' if it is not known yet."""
    if count == 0 or seconds <= 0:
        return ""
    rate = count / seconds
    return (
        f"{rate:.0f}/s"
        if rate >= 10
        else f"{rate:.1f}/s"
        if rate >= 1
        else f"{1 / rate:.1f} s each"
    )


def _values(fields: dict[str, float | str]) -> str:
    return ", ".join(f"{name} {_value(value)}" for name, value in fields.items())


def _value(value: float | str) -> str:
    """Formats a count with all its digits, another number with three."""
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.3g}"


def print_round(console: Console, record: dict[str, Any], unit: str = "class") -> None:
    """Prints the work of one round and the accuracy of its model.

    Args:
        console: console to print to.
        record: record of the round.
        unit: noun that a group of problems counts, such as "digits".
    """
    name = f"round {record['round']}" if record["round"] else "base model"
    right = record["accuracy"]
    said = "the data has no answers" if right is None else f"{100 * right:.1f} % right"
    console.rule(f"[bold]{name}[/bold]: {said}", align="left")
    if record["round"]:
        console.print(_work_table([record]))
    console.print(_accuracy_table([record], unit))


def print_rounds(console: Console, rounds: Sequence[dict[str, Any]], unit: str = "class") -> None:
    """Prints the tables of all rounds, a row a round, for the end of a run.

    Args:
        console: console to print to.
        rounds: records of the rounds in order.
        unit: noun that a group of problems counts, such as "digits".
    """
    console.rule("[bold]all rounds[/bold]", align="left")
    console.print(_work_table(rounds))
    console.print(_accuracy_table(rounds, unit))


def print_diversity(console: Console, round_: int, measures: dict[str, Any]) -> None:
    """Prints how different the samples of a question were, and warns if they were not.

    Args:
        console: console to print to.
        round_: number of the round.
        measures: result of `diversity.summarize`.
    """
    unsolved = measures["never_solved"]  # None: the data has no answers
    console.print(
        f"round {round_}: of {measures['samples']} samples a question "
        f"{measures['distinct_rationales']:.1f} are different texts with "
        f"{measures['distinct_answers']:.1f} different answers"
        + ("" if unsolved is None else f"; {unsolved} questions were never solved")
    )
    if has_collapsed(measures):
        open_ = "questions" if unsolved is None else "questions not always solved"
        console.print(
            f"[yellow]round {round_}: for {100 * measures['collapsed']:.0f} % of the {open_}, "
            "all samples are one text: sampling more finds nothing new. Raise "
            "config.sampler.temperature, or train less (config.train.first_steps)[/yellow]"
        )


def print_test(console: Console, score: dict[str, Any]) -> None:
    """Prints the accuracy on the test set, at the end of a run."""
    low, high = score["accuracy_interval"]
    console.print(
        f"[bold]test set[/bold]: {100 * score['accuracy']:.1f} % right "
        f"({100 * low:.1f}–{100 * high:.1f}) of {score['evaluated']}, "
        f"by the model of round {score['round']}, the best on the held-out problems"
    )


def print_evaluation(result: dict[str, Any], path: str) -> None:
    """Prints the result of `star_jax.evaluate`, and the path of its file."""
    console = Console()
    console.rule(
        f"[bold]{result['task']}, {result['split']}[/bold]: {result['questions']} questions, "
        f"{result['samples']} sample(s) each",
        align="left",
    )
    table = _table("")
    for header in ("", "%", "95 %\ninterval"):
        table.add_column(header, justify="left" if not header else "right")
    low, high = result["accuracy_interval"]
    lines = {"accuracy": (result["accuracy"], low, high)}
    if result["samples"] > 1:
        for kind, name in (("maj_at", "maj@"), ("best_of", "best of "), ("pass_at", "pass@")):
            for size, score in result.get(kind, {}).items():
                lines[f"{name}{size}"] = (score["accuracy"], *score["interval"])
    for name, (value, low, high) in lines.items():
        table.add_row(name, f"{100 * value:.1f}", f"{100 * low:.1f}–{100 * high:.1f}")
    console.print(table)
    exact, lenient = result["exact_accuracy"], result["flexible_accuracy"]
    console.print(f"exact rule {100 * exact:.1f} %, flexible rule {100 * lenient:.1f} %")
    console.print(f"{path}", style="cyan", highlight=False)


def print_data(console: Console, report: dict[str, Any]) -> None:
    """Prints the number of problems, and the rows left out of a data set with the reasons."""
    counts = ", ".join(f"{count:,} {split}" for split, count in report["problems"].items() if count)
    console.print(f"problems: {counts}")
    for split, flaws in report["left_out"].items():
        for kind, count in collections.Counter(kind for _, kind, _ in flaws).items():
            lines = [str(line) for line, what, _ in flaws if what == kind and line]
            where = f", lines {', '.join(lines[:8])}{', ...' if len(lines) > 8 else ''}"
            console.print(f"left out of {split}: {count} {kind}{where if lines else ''}")


def _table(caption: str) -> Table:
    # No padding and no frame: a round's columns hardly fit into 80.
    return Table(
        box=box.SIMPLE_HEAD, show_edge=False, padding=0, caption=caption, caption_justify="left"
    )


def _work_table(rounds: Sequence[dict[str, Any]]) -> Table:
    table = _table("wrong: kept rationales with a wrong step, generated / rationalized")
    headers = "round|tried|right|ratio-\nnalized|kept|wrong\n%|train\nsteps"
    for header in headers.split("|"):
        table.add_column(header, justify="right")
    for header in ("gen.", "rat.", "train", "eval.", "other", "total"):
        table.add_column(f"{header}\ns", justify="right", style="dim")
    for record in rounds:
        counts = ("round", "tried", "correct", "rationalized", "kept")
        table.add_row(
            *(_count(record.get(name)) for name in counts),
            _wrong_steps(record.get("wrong_step_share", {})),
            _count(record.get("train_steps")),
            *_seconds(record.get("seconds", {})),
        )
    return table


def _accuracy_table(rounds: Sequence[dict[str, Any]], unit: str) -> Table:
    inside = list(rounds[0]["accuracy_by_class"])
    outside = list(rounds[0].get("out_of_distribution", {}))
    table = _table("* out of distribution: never trained on" if outside else "")
    table.add_column("round", justify="right")
    table.add_column("right\n%", justify="right", style="bold")
    table.add_column("95 %\ninterval", justify="right", style="dim")
    for index, group in enumerate(inside):
        # The unit is printed once, over the first group: repeated, it would not fit.
        table.add_column(f"{'' if index else '  ' + unit}\n{group}", justify="right", min_width=4)
    for group in outside:
        table.add_column(f"\n{group}*", justify="right", min_width=4, style="dim")
    for record in rounds:
        right, interval = record["accuracy"], record.get("accuracy_interval")
        table.add_row(
            str(record["round"]),
            DASH if right is None else f"{100 * right:.1f}",
            f"{100 * interval[0]:.0f}–{100 * interval[1]:.0f}" if interval else DASH,
            *(_percent(record["accuracy_by_class"][group]) for group in inside),
            *(_percent(record["out_of_distribution"][group]) for group in outside),
        )
    return table


def _count(value: int | None) -> str:
    return DASH if value is None else str(value)


def _percent(share: float | None) -> str:
    return DASH if share is None else f"{100 * share:.0f}"


def _wrong_steps(shares: dict[str, float | None]) -> str:
    if not any(share is not None for share in shares.values()):
        return DASH
    return f"{_percent(shares.get('generated'))} / {_percent(shares.get('rationalized'))}"


def _seconds(seconds: dict[str, float]) -> list[str]:
    """Returns the seconds of the table's phases, of everything else, and of the whole round."""
    total = seconds.get("total", sum(seconds.values()))
    other = total - sum(seconds.get(phase, 0.0) for phase in PHASES)
    phases = [f"{seconds[phase]:.0f}" if phase in seconds else DASH for phase in PHASES]
    return [*phases, f"{max(0.0, other):.0f}", f"{total:.0f}"]


def closing(console: Console, workdir: epath.PathLike) -> None:
    """Prints the files of the run folder that are worth reading, if they exist."""
    folder = epath.Path(workdir)
    contents = {
        PLOT: "accuracy and wrong steps over the rounds",
        RESULT: "every round's numbers",
        METRICS: "the numbers during training",
        "rounds/0001/samples-00000.jsonl": "what the model wrote, and why it was kept or not",
        "rounds/0001/rationalized-00000.jsonl": "the same, written with the answer as a hint",
        "config.json": "the settings",
        "checkpoints": "the weights",
    }
    console.print("[bold]Look at[/bold]")
    for name, content in contents.items():
        if (folder / name).exists():
            console.print(
                f"  {folder / name}", style="cyan", end="", soft_wrap=True, highlight=False
            )
            console.print(f"  {content}", style="dim", soft_wrap=True, highlight=False)
