"""A run's folder: whose it is, and what a killed process left lying about in it."""

import pathlib

from etils import epath

from star_jax.config.validation import Settings, SettingsError, differences, to_dict
from star_jax.storage import files, versions

TEST = "test.json"  # what came of the test problems
_CONFIG = "config.json"
_WEIGHTS = ("checkpoints", "rounds")


def check(settings: Settings, workdir: epath.PathLike) -> None:
    """Refuses a folder that holds a run with other settings; one without a run is fine.

    Raises:
        SettingsError: naming each setting that differs; or `pretrain.base` has no model to start
            from, or one of another shape.
    """
    if settings.pretrain.base and not (weights(workdir) / "0").exists():
        _check_base(settings)
    config = epath.Path(workdir) / _CONFIG
    if config.exists() and (different := differences(files.read_json(config), to_dict(settings))):
        raise SettingsError(
            f"{workdir} holds a run with other settings; choose another --workdir, delete it, "
            "or set these back:\n" + "\n".join(different)
        )


def weights(workdir: epath.PathLike) -> epath.Path:
    """Where a run keeps the weights after each round; number 0 is its base model."""
    return epath.Path(workdir).expanduser().joinpath(*_WEIGHTS)


def run_of(path: pathlib.Path) -> pathlib.Path | None:
    """The run whose weights after a round `path` is; None for any other path."""
    path = path.absolute()
    return path.parents[2] if path.parent.parts[-2:] == _WEIGHTS else None


def check_round(workdir: epath.PathLike, number: int, *, samples: bool = True) -> None:
    """Refuses to begin a round while there is something of it, or of what came after it.

    Args:
        workdir: of the run.
        number: of the round.
        samples: the model of the round before writes them, before anything is trained.

    Raises:
        SettingsError: naming all that would have to be deleted too.
    """
    folder = epath.Path(workdir)
    if ledger(folder, number).exists():
        return  # it goes on
    first = number  # to do again: the model before it has to be there still
    while samples and first > 1 and not (weights(folder) / str(first - 1)).exists():
        first -= 1
    made = (  # a base model is made before its round begins
        (ledger(folder, number).parent, first),
        (weights(folder), max(first, 1)),
        (training(folder, number).parent, first if first and samples else number + 1),
    )
    later = [path for place, least in made for path in place.glob("*") if _number(path) >= least]
    begun = training(folder, number)  # the fused step opens it first; it is of no step yet
    later = [
        path for path in later if path != begun or any(_number(x) >= 0 for x in path.glob("*"))
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
    """What a round lacks: its ledger, and weights before it where an earlier one is due."""
    lost = weights(folder) / str(number - 1)
    return f"{ledger(folder, number)}" + (f" (nor {lost})" if first < number else "")


def _number(path: epath.Path) -> int:
    """Of the round that a folder is of; -1 for something else."""
    number = path.name.removeprefix("training-")
    return int(number) if number.isdigit() else -1


def ledger(workdir: epath.PathLike, number: int) -> epath.Path:
    """Where a round keeps what it has done."""
    return epath.Path(workdir) / "rounds" / f"{number:04d}"


def training(workdir: epath.PathLike, number: int) -> epath.Path:
    """Where the training of a round leaves its state, to go on from; 0: that of the base model."""
    return epath.Path(workdir) / "checkpoints" / f"training-{number:04d}"


def _check_base(settings: Settings) -> None:
    base = settings.pretrain.base
    config = epath.Path(base).expanduser() / _CONFIG
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

    What versions this start has is kept there too.

    Raises:
        SettingsError: as in `check`.
    """
    check(settings, workdir)
    folder = epath.Path(workdir)
    begun = (folder / _CONFIG).exists()
    versions.record(folder, begun=begun)
    if not begun:
        files.write_json(folder / _CONFIG, to_dict(settings))
    files.sweep(folder)
    return folder
