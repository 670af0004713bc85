"""Runs an experiment: python -m star_jax.main --config=configs/arithmetic.py --workdir=runs/a."""

import pathlib
from collections.abc import Sequence

from absl import app, flags, logging
from ml_collections import config_flags

from star_jax.config import validation
from star_jax.config.flags import parse, refuse
from star_jax.runtime import distributed
from star_jax.storage import run_dir

_CONFIG = config_flags.DEFINE_config_file("config", None, "the experiment's config file")
_WORKDIR = flags.DEFINE_string("workdir", None, "the run's folder, local or gs://")


def main(argv: Sequence[str]) -> None:
    """Checks the settings, then runs the experiment.

    Args:
      argv: name of the program; `flags.parse` accepts no other arguments.
    """
    del argv
    logging.set_verbosity(logging.WARNING)  # Orbax logs a page at every save
    config_file = config_flags.get_config_filename(flags.FLAGS["config"]).partition(":")[0]
    workdir = _WORKDIR.value or f"runs/{pathlib.Path(config_file).stem}"
    processes = distributed.process_flags()
    try:
        distributed.check(*processes)
        settings = validation.from_config(_CONFIG.value)
        run_dir.check(settings, workdir)
        # jax takes seconds to import, so errors in the settings come first.
        with distributed.initialized(*processes):
            from star_jax.runtime import compile
            from star_jax.star import rounds

            compile.use_cache(f"{workdir}/cache")
            rounds.run_rounds(settings, workdir)
    except validation.SettingsError as error:
        refuse(error)
    except KeyboardInterrupt:
        refuse(f"\nstopped; the same command goes on in {workdir}", status=130)


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
