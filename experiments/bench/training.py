"""Training: ours against a plain PyTorch loop, on packed GSM8K solutions: time and memory.

    python -m experiments.bench.training --model=MODEL --data=DATA [--batches=4x512,8x1024]
        [--micro_batch=0] [--dtype=float32] [--dtypes=float32,bfloat16] [--steps=3] [--repeats=3]
        [--json=FILE]

MODEL and DATA as in `workload`. Each run is a process of its own, for its memory's sake, and they
take turns; of `--steps` updates the first is not counted, and compilation is before it. The peer
has every micro-batch and checkpointing of `peer_training.SETTINGS`; where one fails, such as for
want of memory, it is left out. `--micro_batch` is of ours: rows at a time, 0 for all. `--dtype`
is ours, `--dtypes` are the peer's. A token of the roofline is three passes of its products, in
float32.
"""

import argparse
import pathlib
import subprocess
import tempfile
from collections.abc import Callable, Sequence

from rich.console import Console

from experiments.bench import compare, peer_training, workload
from experiments.bench.compare import Side
from experiments.bench.peer_training import SETTINGS, Trained
from experiments.bench.roofline import TRAINING, Products
from star_jax.conversion import load
from star_jax.data.tokenizer import HuggingFaceTokenizer


class Runs:
    """Sides that remember what they found.

    Attributes:
        peak_mib: side -> most memory in any of its runs.
    """

    def __init__(self) -> None:
        self.peak_mib: dict[str, float] = {}

    def side(self, name: str, run: Callable[[], Trained]) -> Side:
        """A side that does `run`."""

        def once() -> tuple[int, float]:
            done = run()
            self.peak_mib[name] = max(self.peak_mib.get(name, 0.0), done.peak_mib)
            return done.tokens * len(done.seconds), sum(done.seconds)

        return once


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    workload.add_arguments(parser)
    parser.add_argument("--batches", default=",".join(f"{n}x{t}" for n, t in workload.BATCHES))
    parser.add_argument("--micro_batch", type=int, default=0, help="of ours; 0 is the whole batch")
    parser.add_argument("--dtypes", default="float32,bfloat16", help="of the peer")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args(arguments)
    tokenizer = HuggingFaceTokenizer.open(given.model)
    found, peaks = {}, {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = workload.export(given.model, pathlib.Path(temporary) / "model")
        for size in given.batches.split(","):
            rows, length = map(int, size.split("x"))
            path = folder.parent / f"{size}.npz"
            peer_training.save(workload.batch(tokenizer, given.data, rows, length), path)
            runs = Runs()
            ours = runs.side("ours", lambda path=path: _ours(given, path))
            found[size] = compare.compare(
                ours,
                _peers(runs, folder, path, given.dtypes.split(","), given.steps),
                repeats=given.repeats,
                roofline=_roofline(given.model, rows * length),
            )
            peaks[size] = runs.peak_mib
    console = Console()
    compare.show(console, found)
    for size, sides in peaks.items():
        for name, peak in sides.items():
            console.print(f"{size} {name}: at most {peak:.0f} MiB", highlight=False)
    compare.write(given.json, found, peak_mib=peaks)


def _ours(given: argparse.Namespace, batch: pathlib.Path) -> Trained:
    flags = [f"--{name}={getattr(given, name)}" for name in ("steps", "micro_batch", "dtype")]
    return peer_training.run("experiments.bench.our_training", given.model, str(batch), *flags)


def _peers(
    runs: Runs, folder: pathlib.Path, batch: pathlib.Path, dtypes: Sequence[str], steps: int
) -> dict[str, Side]:
    """Those settings that run at all, one update each."""
    sides: dict[str, Side] = {}
    for setting in SETTINGS:
        if setting.dtype not in dtypes:
            continue
        try:
            peer_training.measure(folder, batch, setting, 1)
        except subprocess.CalledProcessError:
            continue
        name = str(setting)
        sides[name] = runs.side(
            name,
            lambda setting=setting: peer_training.measure(folder, batch, setting, steps),
        )
    return sides


def _roofline(model: str, tokens: int) -> float:
    products = Products(load.open_config(model))
    return products.measure(tokens, repeats=3, passes=TRAINING).tokens_per_second


if __name__ == "__main__":
    main()
