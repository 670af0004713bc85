"""Records the versions of Python and of packages that a run was started with."""

import importlib.metadata
import platform

from etils import epath
from rich.console import Console

import star_jax
from star_jax.storage import files

FILE = "versions.json"  # in the run's folder: a list of starts, each with other versions
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "ml-dtypes")


def installed() -> dict[str, str]:
    """Returns package name -> version of this process; imports none of the packages."""
    python = {"python": platform.python_version(), "star_jax": star_jax.__version__}
    return python | {name: importlib.metadata.version(name) for name in _PACKAGES}


def record(folder: epath.Path, *, started: bool) -> None:
    """Appends this start to the folder's `FILE` if the last start there had other versions.

    Args:
        folder: folder of the run.
        started: whether the run was started before; without `FILE`, those versions are unknown.
    """
    starts, now = _read(folder) or ([{}] if started else []), installed()
    if not starts or starts[-1] != now:
        files.write_json(folder / FILE, [*starts, now])


def report(console: Console, folder: epath.Path) -> None:
    """Prints one line if earlier starts had other versions than the last, as far as known."""
    *before, now = _read(folder) or [{}]
    others = {
        name: list(dict.fromkeys(start[name] for start in before if start.get(name, own) != own))
        for name, own in now.items()
    }
    changed = {name: old for name, old in others.items() if old}
    if changed:
        was = ", ".join(f"{name} {' and '.join(old)}" for name, old in changed.items())
        these = ", ".join(f"{name} {now[name]}" for name in changed)
        console.print(
            f"this folder's run was started with {was} before, now with {these}: it goes on, but "
            "may differ in its bytes from an undisturbed run",
            soft_wrap=True,
            highlight=False,
        )


def _read(folder: epath.Path) -> list[dict[str, str]]:
    path = folder / FILE
    return files.read_json(path) if path.exists() else []
