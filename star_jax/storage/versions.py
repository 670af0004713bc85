"""The versions that a run was started with: of Python, and of what its bytes depend on."""

import importlib.metadata
import platform

from etils import epath
from rich.console import Console

import star_jax
from star_jax.storage import files

FILE = "versions.json"  # in the run's folder: of its first start, then of each that had others
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "ml-dtypes")


def installed() -> dict[str, str]:
    """Name -> version, in this process; imports none of the packages."""
    python = {"python": platform.python_version(), "star_jax": star_jax.__version__}
    return python | {name: importlib.metadata.version(name) for name in _PACKAGES}


def record(folder: epath.Path, *, begun: bool) -> None:
    """Adds this start to the folder's `FILE` where the one before it had other versions.

    Args:
        folder: of the run.
        begun: whether there was a start before; if `FILE` is not there, its versions are unknown.
    """
    starts, now = _read(folder) or ([{}] if begun else []), installed()
    if not starts or starts[-1] != now:
        files.write_json(folder / FILE, [*starts, now])


def report(console: Console, folder: epath.Path) -> None:
    """Prints one line where earlier starts had other versions than the last, as far as known."""
    *before, now = _read(folder) or [{}]
    others = {
        name: list(dict.fromkeys(start[name] for start in before if start.get(name, own) != own))
        for name, own in now.items()
    }
    changed = {name: found for name, found in others.items() if found}
    if changed:
        was = ", ".join(f"{name} {' and '.join(found)}" for name, found in changed.items())
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
