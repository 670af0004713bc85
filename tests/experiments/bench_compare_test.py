"""Ours against the peers (experiments/bench/compare.py), with sides that are made up."""

import json
import pathlib
from collections.abc import Iterable

import pytest
from rich.console import Console

from experiments.bench import compare
from experiments.bench.compare import Side

TURNS: list[str] = []


def side(name: str, seconds: Iterable[float]) -> Side:
    """Writes 100 tokens in these seconds, one after the other."""
    rest = iter(seconds)

    def run() -> tuple[int, float]:
        TURNS.append(name)
        return 100, next(rest)

    return run


@pytest.fixture
def found() -> compare.Comparison:
    TURNS.clear()
    peers = {"slow": side("slow", [4, 4, 4]), "fast": side("fast", [2, 2, 1])}
    return compare.compare(side("ours", [1, 0.5, 0.25]), peers, roofline=400.0)


def test_sides_take_turns_and_medians_count(found: compare.Comparison):
    assert TURNS == ["ours", "slow", "fast"] * 3
    assert (found.ours, found.peer, found.peer_setting) == (200, 50, "fast")
    assert (found.ratio, found.roofline_share) == (4, 0.5)
    assert found.runs == {"ours": [100, 200, 400], "slow": [25] * 3, "fast": [50, 50, 100]}


def test_figures_are_shown_and_written(found: compare.Comparison, tmp_path: pathlib.Path):
    console = Console(width=80, record=True)
    compare.show(console, {"sampling": found})
    text = console.export_text()
    assert "sampling" in text and "4.00 x" in text and "50 % of it" in text
    compare.write(tmp_path / "found.json", {"sampling": found}, rows=3)
    written = json.loads((tmp_path / "found.json").read_text())
    assert written["sampling"]["ratio"] == 4 and written["rows"] == 3
    compare.write(None, {"sampling": found})


def test_a_roofline_need_not_be_known():
    found = compare.compare(side("ours", [1]), {"peer": side("peer", [1])}, repeats=1)
    assert (found.roofline, found.roofline_share, found.ratio) == (0, 0, 1)
