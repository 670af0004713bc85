"""How well leak scores and phrase rules tell rationalizations with wrong steps from right ones.

    python experiments/methods/leak_auc.py RUN... [--rounds 1 2 ...]

Each RUN is the folder of a run whose rounds have leak scores (leak_scores.jsonl); its task knows
wrong steps. Counted are the right answers among the rationalizations that were scored, for the
filter sees no others. Printed is a Markdown table, a row for each round and one for all of them.
"""

import argparse
import dataclasses
import pathlib
from collections.abc import Sequence

from star_jax.grading import leak_scores, ledger
from star_jax.grading.auc import auc
from star_jax.grading.leak_scores import LeakScore
from star_jax.grading.statistics import Score
from star_jax.star.phase import RATIONALIZE

DASH = "–"
HEADER = (
    "run|round|rationalizations|with a wrong step|AUC of the mean (95 % interval)|AUC of the worst|"
    "AUC of the phrase rules|their sensitivity, % (95 % interval)|their specificity, %"
).split("|")


@dataclasses.dataclass(frozen=True)
class Scored:
    """A right rationalization, and what could tell that it has a wrong step.

    Attributes:
        score: its leak score.
        phrases: whether a phrase rule finds a leak in it.
        wrong: whether it has a wrong step.
    """

    score: LeakScore
    phrases: bool
    wrong: bool


def load(run: pathlib.Path, number: int) -> list[Scored]:
    """The scored rationalizations of a round that have the right answer.

    Raises:
        FileNotFoundError: the round has no leak scores.
        ValueError: a file is damaged, or a score is of no rationalization of the round.
    """
    folder = run / "rounds" / f"{number:04d}"
    scores = leak_scores.read(folder)
    samples = {leak_scores.key(s): s for s in ledger.read_shards(folder, RATIONALIZE.name)}
    if strange := scores.keys() - samples.keys():
        raise ValueError(
            f"{folder / leak_scores.FILE}: scores {min(strange)}, which is no rationalization of "
            "that round; are its files of one run?"
        )
    return [
        Scored(score, bool(samples[name].leaks), wrong)
        for name, score in scores.items()
        if samples[name].correct and (wrong := samples[name].wrong_step) is not None
    ]


def rounds(run: pathlib.Path) -> list[int]:
    """The rounds of a run that have leak scores.

    Raises:
        ValueError: none has.
    """
    found = sorted(int(path.parent.name) for path in run.glob(f"rounds/*/{leak_scores.FILE}"))
    if not found:
        raise ValueError(
            f"{run}: no rounds/*/{leak_scores.FILE}; give the folder of a run with "
            "config.rationalize.score_leaks=true"
        )
    return found


def row(scored: Sequence[Scored]) -> list[str]:
    """The cells of a row from the third on; a dash where there is nothing to tell apart."""
    labels = [one.wrong for one in scored]
    wrong, right = (
        [one.phrases for one in scored if one.wrong is which] for which in (True, False)
    )
    counts = [f"{len(labels):,}", f"{len(wrong):,}"]
    if not wrong or not right:
        return [*counts, *[DASH] * 3, _share(wrong, True), _share(right, False)]
    measures = (
        [one.score.mean for one in scored],
        [one.score.worst for one in scored],
        [float(one.phrases) for one in scored],
    )
    return [
        *counts,
        *(_area(values, labels) for values in measures),
        _share(wrong, True),
        _share(right, False),
    ]


def _area(values: Sequence[float], labels: Sequence[bool]) -> str:
    area = auc(values, labels)
    low, high = area.interval
    return f"{area.value:.3f} ({low:.3f}–{high:.3f})"


def _share(found: Sequence[bool], wanted: bool) -> str:
    """The share of texts, in percent, of which the phrase rules say what they should."""
    if not found:
        return DASH
    score = Score(sum(one is wanted for one in found), len(found))
    low, high = score.interval
    return f"{100 * score.accuracy:.1f} ({100 * low:.1f}–{100 * high:.1f})"


def table(runs: Sequence[pathlib.Path], wanted: Sequence[int] = ()) -> str:
    """The Markdown table of runs.

    Args:
        runs: folders of runs.
        wanted: rounds to count; none: all that have leak scores.
    """
    lines = [HEADER, [":--"] + ["--:"] * (len(HEADER) - 1)]
    for run in runs:
        everything: list[Scored] = []
        numbers = wanted or rounds(run)
        for number in numbers:
            scored = load(run, number)
            everything += scored
            lines.append([run.name, str(number), *row(scored)])
        if len(numbers) > 1:
            lines.append([run.name, "all", *row(everything)])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description="Leak scores against wrong steps.")
    parser.add_argument("runs", type=pathlib.Path, nargs="+", help="folders of runs")
    parser.add_argument("--rounds", type=int, nargs="+", default=(), help="only these")
    arguments = parser.parse_args()
    print(table(arguments.runs, arguments.rounds), end="")


if __name__ == "__main__":
    main()
