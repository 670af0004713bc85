"""Ours against the peers: by turns in one run, compared by medians; a table and a JSON file.

Measure on a machine that has nothing else to do. Turns spread other work over all sides, but it
does not cost them alike: torch's threads wait for each other at every operation. Beside one busy
process, torch with two threads on two cores took 8 times as long to sample as with one thread.
"""

import dataclasses
import json
import pathlib
import statistics
from collections.abc import Callable, Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

# Does the work once; returns how many tokens, and the seconds that count.
Side = Callable[[], tuple[int, float]]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Tokens per second.

    Attributes:
        ours: the median.
        peer: that of the peer's best setting.
        peer_setting: which it is.
        ratio: ours / peer.
        roofline: what matrix products alone would allow; 0 where that is not known.
        roofline_share: ours / roofline; 0 where that is not known.
        runs: "ours" or setting -> each run, in their order.
    """

    ours: float
    peer: float
    peer_setting: str
    ratio: float
    roofline: float
    roofline_share: float
    runs: dict[str, list[float]]


def compare(
    ours: Side, peers: Mapping[str, Side], *, repeats: int = 3, roofline: float = 0.0
) -> Comparison:
    """Runs all sides by turns, and says so. What is to be compiled is, before that.

    Args:
        ours: our side.
        peers: setting -> side.
        repeats: runs of each.
        roofline: tokens per second by matrix products alone; 0 if not known.
    """
    runs: dict[str, list[float]] = {name: [] for name in ("ours", *peers)}
    for _ in range(repeats):
        for name, side in {"ours": ours, **peers}.items():
            tokens, seconds = side()
            runs[name].append(tokens / seconds)
            print(f"{name}: {tokens} tokens in {seconds:.1f} s", flush=True)
    medians = {name: statistics.median(rates) for name, rates in runs.items()}
    best = max(peers, key=lambda name: medians[name])
    speed = medians["ours"]
    return Comparison(
        ours=speed,
        peer=medians[best],
        peer_setting=best,
        ratio=speed / medians[best],
        roofline=roofline,
        roofline_share=speed / roofline if roofline else 0.0,
        runs=runs,
    )


def show(console: Console, found: Mapping[str, Comparison]) -> None:
    """Prints a table for each comparison, by its title."""
    for title, one in found.items():
        share = f"{one.roofline:.0f} tokens/s, ours has {100 * one.roofline_share:.0f} % of it"
        table = Table(box=box.SIMPLE, show_edge=False, title=title, title_justify="left")
        table.caption, table.caption_justify = (f"roofline {share}" if one.roofline else ""), "left"
        for header in ("", "tokens/s", "lowest", "highest", "ours is"):
            table.add_column(header, justify="right" if header else "left")
        for name, rates in one.runs.items():
            median = statistics.median(rates)
            cells = [f"{value:.1f}" for value in (median, min(rates), max(rates))]
            table.add_row(name, *cells, "" if name == "ours" else f"{one.ours / median:.2f} x")
        console.print(table)


def write(path: pathlib.Path | None, found: Mapping[str, Comparison], **more: Any) -> None:
    """Writes the figures as JSON, by their titles, and what else there is; nothing for None."""
    if path:
        figures = {title: dataclasses.asdict(one) for title, one in found.items()}
        path.write_text(json.dumps({**figures, **more}, indent=2) + "\n")
