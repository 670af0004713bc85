"""The weights of a run: the base model M, and the models M_1, M_2, ... of its rounds."""

import functools

from star_jax.config.validation import SettingsError
from star_jax.conversion import load, run_checkpoint
from star_jax.data import problems
from star_jax.models.params import Params
from star_jax.star import finetune
from star_jax.star.run import Run
from star_jax.storage import files, run_dir
from star_jax.storage.checkpoint import Checkpoints


def open_weights(run: Run) -> Checkpoints:
    """Opens the checkpoints of each round's weights; number 0 is a base model made here."""
    return Checkpoints(run_dir.weights(run.folder))


def make_base(run: Run, weights: Checkpoints) -> None:
    """Makes M, or copies another run's, and saves it as number 0; does nothing for a pretrained M.

    Args:
        run: the run.
        weights: checkpoints of the run's weights, from `open_weights`.
    """
    cfg, init = run.settings.pretrain, run.programs.init
    if run.settings.model.source or weights.has(0):
        return
    if cfg.base:
        source = Checkpoints(run_dir.weights(cfg.base), read_only=True)
        base = source.restore(0, run.abstract_params)
        source.close()
    elif init is None:
        raise ValueError("this run draws no weights")
    else:
        draw = functools.partial(init, run.settings.seed)
        base = finetune.pretrain(run, draw) if cfg.steps else draw()
    weights.save(0, base)


def restore(run: Run, weights: Checkpoints, n: int) -> Params:
    """Loads M_n from its checkpoint; a pretrained M from its source.

    Raises:
        SettingsError: the source cannot be read.
    """
    model = run.settings.model
    if n or not model.source:
        return weights.restore(n, run.abstract_params)
    number = files.read_json(run.folder / problems.FILE)["checkpoint"]
    try:
        source = run_checkpoint.pinned(model.source, number)
        return load.load(source, run.mesh, dtype=model.dtype).params
    except load.LoadError as error:  # the files may have changed since `make_run` checked them
        raise SettingsError(str(error)) from error


def restore_policy(run: Run, weights: Checkpoints, n: int) -> Params:
    """Loads M_n in the layout for sampling; the original arrays are freed."""
    return run.programs.sampling.lay_out(restore(run, weights, n))
