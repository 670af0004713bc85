"""Opens a run's folder: refuses one of another run, and removes files of killed processes."""

import pathlib

from etils import epath

from star_jax.config.validation import Settings, SettingsError, differences, to_dict, upgrade
from star_jax.storage import files, versions

TEST = "test.json"  # results on the test problems
_CONFIG = "config.json"
_WEIGHTS = ("checkpoints", "rounds")


def check(settings: Settings, workdir: epath.PathLike) -> None:
    """Refuses a folder that holds a run with other settings; one without a run is fine.

    Raises:
        SettingsError: the settings differ (the message names each); or `pretrain.base` has no model
            to start from, or one of another shape.
    """
    if settings.pretrain.base and not (weights(workdir) / "0").exists():
        _check_base(settings)
    config = epath.Path(workdir) / _CONFIG
    stored = upgrade(files.read_json(config)) if config.exists() else to_dict(settings)
    if different := differences(stored, to_dict(settings)):
        raise SettingsError(
            f"{workdir} holds a run with other settings; choose another --workdir, delete it, "
            "or set these back:\n" + "\n".join(different)
        )


def weights(workdir: epath.PathLike) -> epath.Path:
    """Returns the folder of a run's weights after each round; number 0 is its base model."""
    return epath.Path(workdir).expanduser().joinpath(*_WEIGHTS)


def run_of(path: pathlib.Path) -> pathlib.Path | None:
    """Returns the run's folder if `path` holds its weights after a round; else None."""
    path = path.absolute()
    return path.parents[2] if path.parent.parts[-2:] == _WEIGHTS else None


def check_round(workdir: epath.PathLike, number: int, *, samples: bool = True) -> None:
    """Refuses to begin a round if the folder holds files of it, or of later rounds.

    A round whose ledger exists may continue.

    Args:
        workdir: folder of the run.
        number: number of the round.
        samples: whether the round samples with the model of the round before, ahead of training.

    Raises:
        SettingsError: there are such files; the message names all that would have to be deleted.
    """
    folder = epath.Path(workdir)
    if ledger(folder, number).exists():
        return  # the round continues
    first = number  # first round to repeat: its sampler's weights must still exist
    while samples and first > 1 and not (weights(folder) / str(first - 1)).exists():
        first -= 1
    outputs = (  # parent folder, lowest round to delete; the base model precedes its round
        (ledger(folder, number).parent, first),
        (weights(folder), max(first, 1)),
        (training(folder, number).parent, first if first and samples else number + 1),
    )
    later = [
        path for parent, least in outputs for path in parent.glob("*") if _number(path) >= least
    ]
    opened = training(folder, number)  # the fused step creates it first: empty, it does not count
    later = [
        path for path in later if path != opened or any(_number(x) >= 0 for x in path.glob("*"))
    ]
    if (folder / TEST).exists():
        later.append(folder / TEST)
    if later:
        raise SettingsError(
            f"{_missing(folder, number, first)} is not there, though what came after it is: put it "
            f"back, or delete these too, to do round {first} again and all after it:\n"
            + "\n".join(sorted(map(str, later)))
        )


def _missing(folder: epath.Path, number: int, first: int) -> str:
    """Returns the missing paths: the round's ledger, and weights if an earlier round is due."""
    lost = weights(folder) / str(number - 1)
    return f"{ledger(folder, number)}" + (f" (nor {lost})" if first < number else "")


def _number(path: epath.Path) -> int:
    """Returns the number of the round that a folder belongs to; -1 for any other path."""
    number = path.name.removeprefix("training-")
    return int(number) if number.isdigit() else -1


def ledger(workdir: epath.PathLike, number: int) -> epath.Path:
    """Returns the folder of a round's ledger."""
    return epath.Path(workdir) / "rounds" / f"{number:04d}"


def training(workdir: epath.PathLike, number: int) -> epath.Path:
    """Returns the folder of a round's training checkpoints; 0: those of the base model."""
    return epath.Path(workdir) / "checkpoints" / f"training-{number:04d}"


def _check_base(settings: Settings) -> None:
    base = settings.pretrain.base
    config = epath.Path(base).expanduser() / _CONFIG
    if not config.exists() or not (weights(base) / "0").exists():
        raise SettingsError(
            f"config.pretrain.base = {base!r}: holds no base model; make one by a run with "
            f"--workdir={base} --config.rounds.count=0"
        )
    models = (
        {"task.name": c["task"]["name"], "model": c["model"]}
        for c in (files.read_json(config), to_dict(settings))
    )
    if different := differences(*models):
        raise SettingsError(
            f"config.pretrain.base = {base!r}: is another kind of model:\n" + "\n".join(different)
        )


def open_folder(settings: Settings, workdir: epath.PathLike) -> epath.Path:
    """Creates or opens the run's folder, and removes unfinished files in it.

    Writes config.json at the first start, and records the versions of this start.

    Returns:
        The folder.

    Raises:
        SettingsError: the same cases as in `check`.
    """
    check(settings, workdir)
    folder = epath.Path(workdir)
    started = (folder / _CONFIG).exists()
    versions.record(folder, started=started)
    if not started:
        files.write_json(folder / _CONFIG, to_dict(settings))
    files.sweep(folder)
    return folder
