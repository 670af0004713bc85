"""The models of a run: M, which it starts from, and M_1, M_2, ... that its rounds make."""

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
    """The weights after each round; number 0 is the base model made here."""
    return Checkpoints(run_dir.weights(run.folder))


def make_base(run: Run, weights: Checkpoints) -> None:
    """Makes M, or takes another run's, and saves it as number 0; does nothing for a pretrained M.

    Args:
        run: the run.
        weights: as `open_weights` gives them.
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
    """M_n as it was saved; a pretrained M from its source.

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
    except load.LoadError as error:  # `make_run` looked at the files, but who knows
        raise SettingsError(str(error)) from error


def restore_policy(run: Run, weights: Checkpoints, n: int) -> Params:
    """M_n laid out for sampling; what it was laid out from is freed."""
    return run.programs.sampling.lay_out(restore(run, weights, n))
