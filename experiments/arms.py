"""What studies share: arms of one config with several seeds are run, tabulated and drawn.

A run that is finished is not done again, and one that was stopped goes on, so the same command
resumes a study.
"""

import argparse
import dataclasses
import itertools
import pathlib
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from experiments import runs as commands
from star_jax.grading import ledger, statistics
from star_jax.reporting import plot as plots
from star_jax.reporting.result import RESULT
from star_jax.storage import files, run_dir

DASH = "–"


@dataclasses.dataclass(frozen=True)
class Arm:
    """One arm of a study.

    Attributes:
        title: its name in table and plot.
        color: its colour in the plot.
        settings: flags that make it this arm.
        variant: variant of the study's config; "" for the study's own.
    """

    title: str
    color: str
    settings: Sequence[str] = ()
    variant: str = ""


@dataclasses.dataclass(frozen=True)
class Study:
    """Arms of one config.

    Attributes:
        config: path of the config file.
        arms: folder name of the arm -> arm, in the order of table and plot.
        title: title of the plot.
        settings: flags of all arms.
        variant: variant of the config; "" for the plain one.
        by_tokens: the plot's axis is what was generated to train on, not the round.
    """

    config: pathlib.Path
    arms: Mapping[str, Arm]
    title: str
    settings: Sequence[str] = ()
    variant: str = ""
    by_tokens: bool = False

    def command(
        self, arm: str, seed: int, folder: pathlib.Path, more: Sequence[str] = ()
    ) -> list[str]:
        """The command line of an arm with one seed; flags in `more` count over the study's."""
        chosen = self.arms[arm]
        variant = chosen.variant or self.variant
        config = f"{self.config}:{variant}" if variant else str(self.config)
        program = [sys.executable, "-m", "star_jax.main", f"--config={config}"]
        workdir = f"--workdir={folder / f'{arm}-seed{seed}'}"
        own = [f"--config.seed={seed}", *self.settings, *chosen.settings, *more]
        return [*program, workdir, *own]


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        arm: key of `Study.arms`.
        seed: seed of the run.
        result: content of its result.json.
        tokens: tokens generated to train on until the end of each round, from 0 at the base.
    """

    arm: str
    seed: int
    result: Mapping[str, Any]
    tokens: Sequence[int]

    @property
    def rounds(self) -> list[dict[str, Any]]:
        """The records of the rounds; round 0 is the base model."""
        return self.result["rounds"]

    @property
    def last(self) -> dict[str, Any]:
        """The record of the last round."""
        return self.rounds[-1]


def load(folder: pathlib.Path, arms: Mapping[str, Arm]) -> list[Run]:
    """The finished runs of `arms` in `folder`, in their order, then by seed.

    Raises:
        ValueError: there is none.
    """
    found = []
    for path in folder.glob(f"*/{RESULT}"):
        match = re.fullmatch(r"(\w+)-seed(\d+)", path.parent.name)
        if match and match[1] in arms:
            result = files.read_json(path)
            tokens = _tokens(path.parent, len(result["rounds"]))
            found.append(Run(match[1], int(match[2]), result, tokens))
    if not found:
        raise ValueError(f"{folder}: no <arm>-seed<k>/{RESULT} with an arm of {', '.join(arms)}")
    return sorted(found, key=lambda run: (list(arms).index(run.arm), run.seed))


def by_arm(found: Sequence[Run]) -> dict[str, list[Run]]:
    """The runs of each arm, in the order of the runs."""
    arms: dict[str, list[Run]] = {}
    for run in found:
        arms.setdefault(run.arm, []).append(run)
    return arms


def _tokens(folder: pathlib.Path, rounds: int) -> list[int]:
    each = [
        sum(
            sample.tokens
            for phase in ("samples", "rationalized")
            for sample in ledger.read_shards(run_dir.ledger(folder, number), phase)
        )
        for number in range(1, rounds)
    ]
    return [0, *itertools.accumulate(each)]


def draw(study: Study, found: Sequence[Run], path: pathlib.Path) -> None:
    """Draws accuracy against round or tokens: the mean of an arm's seeds, and each seed thin."""
    figure = Figure(figsize=(8.4, 5.0), dpi=160, layout="constrained")
    axes = figure.subplots()
    plots.dress(axes, study.title)
    labels = []
    for arm, seeds in by_arm(found).items():
        chosen = study.arms[arm]
        curves = [_curve(run, study.by_tokens) for run in seeds]
        for xs, ys in curves if len(curves) > 1 else ():
            axes.plot(xs, ys, color=chosen.color, linewidth=0.8, alpha=0.4)
        length = min(len(xs) for xs, _ in curves)
        xs, ys = (
            [mean([curve[axis][n] for curve in curves]) for n in range(length)] for axis in (0, 1)
        )
        axes.plot(xs, ys, color=chosen.color, linewidth=2.2, marker="o", markersize=3)
        text = f"{chosen.title} {ys[-1]:.1f} %"
        labels.append(plots.Label((xs[-1], ys[-1]), text, chosen.color, bold=True))
    plots.label_ends(axes, labels)
    name = "tokens generated to train on (thousands)" if study.by_tokens else "round"
    axes.set_xlabel(name, color=plots.MUTED)
    plots.save(figure, path)


def _curve(run: Run, by_tokens: bool) -> tuple[list[float], list[float]]:
    rounds = [record["round"] for record in run.rounds]
    xs = [tokens / 1000 for tokens in run.tokens] if by_tokens else rounds
    return xs, [100 * record["accuracy"] for record in run.rounds]


def table(study: Study, found: Sequence[Run]) -> str:
    """The study's Markdown table: a row an arm, its seeds together."""
    columns = {name: cell for name, (wanted, cell) in _COLUMNS.items() if any(map(wanted, found))}
    rows = [["", *columns], [":--"] + ["--:"] * len(columns)]
    for arm, seeds in by_arm(found).items():
        rows.append([study.arms[arm].title, *(cell(seeds) for cell in columns.values())])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _path(seeds: Sequence[Run]) -> str:
    """The mean accuracy of the seeds after each round."""
    length = min(len(run.rounds) for run in seeds)
    means = (mean([run.rounds[n]["accuracy"] for run in seeds]) for n in range(length))
    return " → ".join(f"{100 * value:.1f}" for value in means)


def _each(seeds: Sequence[Run]) -> str:
    return ", ".join(
        interval(run.last["accuracy"], run.last["accuracy_interval"], 0) for run in seeds
    )


def _test(seeds: Sequence[Run]) -> str:
    """The accuracy of all seeds together on the test set, with Wilson's interval."""
    tests = [run.result["test"] for run in seeds if "test" in run.result]
    if not tests:
        return DASH
    total = sum(test["evaluated"] for test in tests)
    right = sum(round(test["accuracy"] * test["evaluated"]) for test in tests)
    return interval(right / total, statistics.wilson(right, total), 1)


def _beyond(seeds: Sequence[Run]) -> str:
    classes = seeds[0].last.get("out_of_distribution", {})
    return ", ".join(
        f"{name}: {100 * mean([run.last['out_of_distribution'][name] for run in seeds]):.1f}"
        for name in classes
    )


def _kept(seeds: Sequence[Run]) -> str:
    kept = [(r["kept"] - r["rationalized"], r["rationalized"]) for r in _trained(seeds)]
    return " + ".join(f"{mean(part):,.0f}" for part in zip(*kept, strict=True)) or DASH


def _wrong(seeds: Sequence[Run]) -> str:
    """The mean share of wrong steps, generated / rationalized, over rounds that kept any."""
    shares = {
        kind: [s for r in _trained(seeds) if (s := r["wrong_step_share"][kind]) is not None]
        for kind in ("generated", "rationalized")
    }
    return " / ".join(f"{100 * mean(s):.1f}" if s else DASH for s in shares.values())


def _labels(seeds: Sequence[Run]) -> str:
    labels = [r["labels"]["accuracy"] for r in _trained(seeds) if "labels" in r]
    return f"{100 * mean(labels):.1f}" if labels else DASH


def _minutes(seeds: Sequence[Run]) -> str:
    return f"{mean([sum(r['seconds']['total'] for r in run.rounds) for run in seeds]) / 60:.0f}"


# Title of a column -> whether a run has something for it, and its cell for an arm's seeds.
_COLUMNS: dict[str, tuple[Callable[[Run], bool], Callable[[Sequence[Run]], str]]] = {
    "seeds": (lambda run: True, lambda seeds: str(len(seeds))),
    "accuracy after each round, %": (lambda run: True, _path),
    "last round of each seed, % (95 %)": (lambda run: True, _each),
    "test, % (95 %)": (lambda run: "test" in run.result, _test),
    "out of distribution, last round, %": (
        lambda run: bool(run.last.get("out_of_distribution")),
        _beyond,
    ),
    "tokens generated, thousands": (
        lambda run: True,
        lambda seeds: f"{mean([run.tokens[-1] for run in seeds]) / 1000:,.0f}",
    ),
    "kept a round, generated + rationalized": (lambda run: True, _kept),
    "wrong steps in kept, %": (lambda run: True, _wrong),
    "right labels, %": (lambda run: any("labels" in r for r in run.rounds), _labels),
    "minutes a run": (lambda run: True, _minutes),
}


def _trained(seeds: Sequence[Run]) -> list[dict[str, Any]]:
    return [record for run in seeds for record in run.rounds[1:]]


def interval(value: float, ends: Sequence[float], decimals: int) -> str:
    """A share in percent with its interval: "50.0 (40–60)"."""
    low, high = (f"{100 * end:.{decimals}f}" for end in ends)
    return f"{100 * value:.1f} ({low}–{high})"


def mean(values: Sequence[float]) -> float:
    """The mean of some numbers."""
    return sum(values) / len(values)


def parse(
    study: Study, name: str, jobs: int = 1
) -> tuple[argparse.Namespace, list[str], list[str]]:
    """Reads the command line of a study.

    Args:
        study: the study.
        name: name of its folder.
        jobs: runs at a time, each on a core, unless the command line says otherwise.

    Returns:
        Its flags (runs, seeds, jobs, output), the arms to run, and the flags for all runs.
    """
    flags = argparse.ArgumentParser(
        prog=f"python -m experiments.{name}.study",
        description=f"{study.title}. --config.NAME=VALUE goes to all runs.",
        allow_abbrev=False,
    )
    here = pathlib.Path(__file__).parent / name
    flags.add_argument("--runs", type=pathlib.Path, default=pathlib.Path("runs") / name)
    flags.add_argument("--arms", default=",".join(study.arms), help="arms to run, with commas")
    flags.add_argument("--seeds", type=int, default=3, help="seeds 0, 1, ... of each arm")
    flags.add_argument("--jobs", type=int, default=jobs, help="runs at a time, each on a core")
    flags.add_argument("--output", type=pathlib.Path, default=here, help="folder of table and plot")
    chosen, more = flags.parse_known_args()
    arms = chosen.arms.split(",")
    if unknown := [arm for arm in arms if arm not in study.arms]:
        flags.error(f"--arms: {', '.join(unknown)} must be of {', '.join(study.arms)}")
    return chosen, arms, more


def run(
    study: Study,
    folder: pathlib.Path,
    arms: Sequence[str],
    seeds: int,
    jobs: int,
    more: Sequence[str],
) -> bool:
    """Runs what is missing in a folder; returns whether all went well."""
    folder.mkdir(parents=True, exist_ok=True)
    todo = [study.command(arm, seed, folder, more) for seed in range(seeds) for arm in arms]
    return not any(commands.run_all(todo, jobs))


def main(study: Study, name: str) -> int:
    """Runs what is missing, then writes table and plot; 0 if all went well."""
    chosen, arms, more = parse(study, name)
    if not run(study, chosen.runs, arms, chosen.seeds, chosen.jobs, more):
        return 1  # what an earlier run has left in an arm's folder is not shown
    write(study, chosen.runs, chosen.output, name)
    return 0


def write(study: Study, folder: pathlib.Path, output: pathlib.Path, name: str) -> None:
    """Writes table.md and NAME.png of the finished runs in a folder, and prints the table."""
    found = load(folder, study.arms)
    output.mkdir(parents=True, exist_ok=True)
    draw(study, found, output / f"{name}.png")
    files.write_atomic(output / "table.md", table(study, found))
    print(table(study, found))
