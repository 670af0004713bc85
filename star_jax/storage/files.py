"""Files of a run folder, local or remote (gs://): written whole or not at all; JSON files."""

import json
import os
import pathlib
import stat
from typing import Any

import fsspec.config
from etils import epath

_TEMPORARY = ".tmp-"  # between a file's name and its writer's process id
for _protocol in ("gs", "gcs", "s3", "abfs"):
    # Other processes write to the same folders: what a client remembers of them is out of date.
    fsspec.config.conf.setdefault(_protocol, {})["use_listings_cache"] = False


def write_atomic(path: epath.PathLike, data: str | bytes) -> None:
    """Writes `data` (text as UTF-8) so that a reader finds the old file or the new, never a part.

    A local file is written under a temporary name in the same folder, brought to the disk and
    renamed; an object store takes an object whole as it is. Missing folders are made.
    """
    target = epath.Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    raw = data.encode() if isinstance(data, str) else data
    if _remote(target):
        target.write_bytes(raw)
        return
    temporary = f"{os.fspath(target)}{_TEMPORARY}{os.getpid()}"
    with open(temporary, "wb") as file:
        file.write(raw)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, target)
    sync(os.fspath(target.parent))


def as_new(path: str | os.PathLike[str]) -> None:
    """Gives a local file the mode that a new one has there, by umask and folder.

    Libraries that write under a temporary name (safetensors) leave it readable by its owner alone.
    """
    other = f"{os.fspath(path)}{_TEMPORARY}{os.getpid()}"
    with open(other, "xb") as file:
        mode = os.fstat(file.fileno()).st_mode
    os.unlink(other)
    os.chmod(path, stat.S_IMODE(mode))


def append_line(path: epath.PathLike, line: str) -> None:
    """Adds a line to a file; a kill may leave a part of it.

    An object store has no such thing, so there the whole is written again.
    """
    target = epath.Path(path)
    if _remote(target):
        before = target.read_text() if target.exists() else ""
        write_atomic(target, f"{before}{line}\n")
        return
    with target.open("a") as file:
        file.write(line + "\n")


def part(path: epath.PathLike, number: int) -> epath.Path:
    """Where process `number` puts its part of a file; like what else is unfinished, it is swept."""
    return epath.Path(f"{os.fspath(path)}{_TEMPORARY}{number}-part")


def sweep(folder: epath.PathLike) -> None:
    """Removes what killed writers left under a folder; object stores are never left with any."""
    if not _remote(folder):
        for leftover in pathlib.Path(folder).rglob(f"*{_TEMPORARY}[0-9]*"):
            leftover.unlink()


def write_json(path: epath.PathLike, value: Any) -> None:
    """Writes `value` as indented JSON, keys in their own order.

    Raises:
        ValueError: `value` holds a NaN or an infinity, which JSON cannot say.
    """
    write_atomic(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: epath.PathLike) -> Any:
    """The value in a JSON file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not JSON; the message names the file and the line.
    """
    try:
        return json.loads(epath.Path(path).read_bytes())
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)}: not JSON ({error}); restore or delete it") from error


def _remote(path: epath.PathLike) -> bool:
    """Whether it is in an object store."""
    return "://" in os.fspath(path)


def sync(path: str | os.PathLike[str]) -> None:
    """Brings a file to the disk; or a folder: without it, a power cut may undo a rename in it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
