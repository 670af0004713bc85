"""A run's folder: whose it is, and what a killed process left lying about in it."""

from etils import epath

from star_jax import files
from star_jax.settings import Settings, SettingsError, differences, to_dict

_CONFIG = "config.json"


def check(settings: Settings, workdir: epath.PathLike) -> None:
    """Refuses a folder that holds a run with other settings; one without a run is fine.

    Raises:
        SettingsError: naming each setting that differs.
    """
    config = epath.Path(workdir) / _CONFIG
    if config.exists() and (different := differences(files.read_json(config), to_dict(settings))):
        raise SettingsError(
            f"{workdir} holds a run with other settings; choose another --workdir, delete it, "
            "or set these back:\n" + "\n".join(different)
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
