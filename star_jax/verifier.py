"""Trains a verifier from a run's right and wrong completions (V-STaR), to rank new ones.

    python -m star_jax.verifier --run=runs/gsm8k
    python -m star_jax.evaluate --config=configs/gsm8k.py:smollm2 --model=runs/gsm8k
        --samples=16 --config.sampler.temperature=0.7 --verifier=runs/gsm8k-verifier

The same command goes on where it was stopped. Over several hosts it is started as star_jax.main.
"""

import argparse
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from absl import logging

from star_jax.config.flags import refuse
from star_jax.config.schema import SETTINGS, Allowed
from star_jax.config.validation import SettingsError
from star_jax.runtime import distributed


def _in(interval: str, kind: type = int) -> Callable[[str], Any]:
    """Returns a parser of the numbers in an interval such as "(0, 1]"."""
    allowed = Allowed(kind, interval)

    def read(text: str) -> Any:
        value = allowed.read(text)
        if not allowed.admits(value):
            raise argparse.ArgumentTypeError(f"{text}: must be {allowed}")
        return value

    return read


def _folder(text: str) -> str:
    return str(pathlib.Path(text).expanduser())


def _sizes(text: str) -> tuple[int, ...]:
    size, parts = SETTINGS["mesh.data"].metadata["allowed"], text.split(",")
    if len(parts) == 3 and all(size.admits(size.read(part)) for part in parts):
        return tuple(map(size.read, parts))
    raise argparse.ArgumentTypeError(f"{text}: must be three sizes, as in 1,-1,1")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m star_jax.verifier",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add, count, positive = parser.add_argument, _in("[1, inf)"), _in("(0, inf)", float)
    add("--run", required=True, type=_folder, help="the run's folder, with finished rounds")
    add("--workdir", type=_folder, help="the verifier's folder (the run's name and -verifier)")
    add("--round", type=_in("[0, inf)"), help="whose model is reference and start (the best one)")
    add("--beta", type=positive, default=0.1, help="DPO's pull towards the reference (0.1)")
    add("--learning_rate", type=positive, help="Adam's highest (a tenth of the run's)")
    add("--steps", type=count, default=2000, help="updates (2000)")
    add("--batch_pairs", type=count, default=16, help="pairs in an update (16)")
    add("--pairs_per_question", type=count, default=8, help="most pairs of a question (8)")
    add(
        "--held_out",
        type=_in("[0, 1)", float),
        default=0.1,
        help="share of questions to measure on (0.1)",
    )
    add("--rationalized", action=argparse.BooleanOptionalAction, default=True,
        help="whether kept rationalizations may be chosen texts")  # fmt: skip
    add("--seed", type=_in("[0, inf)"), default=0, help="of pairs and their order (0)")
    add("--mesh", type=_sizes, default=(), help="devices: data,fsdp,tensor (those of the run)")
    add("--coordinator", help="host:port of process 0")
    add("--processes", type=int, help="how many processes share the training")
    add("--process", type=int, help="the number of this one, from 0")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; ends with status 2 if the verifier cannot be trained."""
    flags = vars(_parser().parse_args(arguments))
    logging.set_verbosity(logging.WARNING)  # Orbax logs a page at every save
    processes = [flags.pop(name) for name in ("coordinator", "processes", "process")]
    workdir = flags.pop("workdir") or f"{flags['run']}-verifier"
    mesh = flags.pop("mesh")
    try:
        distributed.check(*processes)
        with distributed.initialized(*processes):
            from star_jax.runtime import compile  # jax takes seconds to import
            from star_jax.star import verifier, verifier_run

            compile.use_cache(f"{workdir}/cache")
            verifier.train_verifier(verifier_run.VerifierSettings(**flags), workdir, mesh)
    except SettingsError as error:
        refuse(error)
    except KeyboardInterrupt:
        refuse(f"\nstopped; the same command goes on in {workdir}", status=130)


if __name__ == "__main__":
    main()
