"""A run's folder: whose it is, and what a killed process left lying about in it."""

from etils import epath

from star_jax import files
from star_jax.settings import Settings, SettingsError, differences, to_dict

_CONFIG = "config.json"


def check(settings: Settings, workdir: epath.PathLike) -> None:
    """Refuses a folder that holds a run with other settings; one without a run is fine.

    Raises:
        SettingsError: naming each setting that differs; or `pretrain.base` has no model to start
            from, or one of another shape.
    """
    if settings.pretrain.base:
        _check_base(settings)
    config = epath.Path(workdir) / _CONFIG
    if config.exists() and (different := differences(files.read_json(config), to_dict(settings))):
        raise SettingsError(
            f"{workdir} holds a run with other settings; choose another --workdir, delete it, "
            "or set these back:\n" + "\n".join(different)
        )


def weights(workdir: epath.PathLike) -> epath.Path:
    """Where a run keeps the weights after each round; number 0 is its base model."""
    return epath.Path(workdir) / "checkpoints" / "rounds"


def _check_base(settings: Settings) -> None:
    base = settings.pretrain.base
    config = epath.Path(base) / _CONFIG
    if not config.exists() or not (weights(base) / "0").exists():
        raise SettingsError(
            f"config.pretrain.base = {base!r}: holds no base model; make one by a run with "
            f"--workdir={base} --config.rounds.count=0"
        )
    kinds = (
        {"task.name": c["task"]["name"], "model": c["model"]}
        for c in (files.read_json(config), to_dict(settings))
    )
    if different := differences(*kinds):
        raise SettingsError(
            f"config.pretrain.base = {base!r}: is another kind of model:\n" + "\n".join(different)
        )


def open_folder(settings: Settings, workdir: epath.PathLike) -> epath.Path:
    """The run's folder with its config.json, made or found; unfinished files in it are removed.

    Raises:
        SettingsError: as in `check`.
    """
    check(settings, workdir)
    folder = epath.Path(workdir)
    if not (folder / _CONFIG).exists():
        files.write_json(folder / _CONFIG, to_dict(settings))
    files.sweep(folder)
    return folder
