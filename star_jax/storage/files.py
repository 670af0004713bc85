"""Reads and writes files of a run folder, local or remote (gs://), atomically; JSON files."""

import json
import os
import pathlib
import stat
from typing import Any

import fsspec.config
from etils import epath

_TEMPORARY = ".tmp-"  # between a file's name and its writer's process id
for _protocol in ("gs", "gcs", "s3", "abfs"):
    # Other processes write to the same folders, so a cached listing would be out of date.
    fsspec.config.conf.setdefault(_protocol, {})["use_listings_cache"] = False


def write_atomic(path: epath.PathLike, data: str | bytes) -> None:
    """Writes `data` (text as UTF-8) atomically: a reader finds the old file or the new one whole.

    A local file is written under a temporary name in the same folder, flushed to the disk and
    renamed. An object store writes objects whole anyway. Missing folders are created.
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
    """Gives a local file the mode of a new file in its folder, by umask and folder.

    Libraries that write under a temporary name (safetensors) leave a file that only its owner can
    read.
    """
    other = f"{os.fspath(path)}{_TEMPORARY}{os.getpid()}"
    with open(other, "xb") as file:
        mode = os.fstat(file.fileno()).st_mode
    os.unlink(other)
    os.chmod(path, stat.S_IMODE(mode))


def append_line(path: epath.PathLike, line: str) -> None:
    """Appends a line to a file; a process killed meanwhile may leave a part of the line.

    Object stores cannot append, so there the whole file is written again.
    """
    target = epath.Path(path)
    if _remote(target):
        before = target.read_text() if target.exists() else ""
        write_atomic(target, f"{before}{line}\n")
        return
    with target.open("a") as file:
        file.write(line + "\n")


def part(path: epath.PathLike, number: int) -> epath.Path:
    """Returns the path of process `number`'s part of a file; `sweep` removes such files."""
    return epath.Path(f"{os.fspath(path)}{_TEMPORARY}{number}-part")


def sweep(folder: epath.PathLike) -> None:
    """Removes temporary files of killed writers under a local folder; object stores have none."""
    if not _remote(folder):
        for leftover in pathlib.Path(folder).rglob(f"*{_TEMPORARY}[0-9]*"):
            leftover.unlink()


def write_json(path: epath.PathLike, value: Any) -> None:
    """Writes `value` as indented JSON, with the keys in the order of `value`.

    Raises:
        ValueError: `value` holds a NaN or an infinity, which JSON cannot represent.
    """
    write_atomic(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: epath.PathLike) -> Any:
    """Returns the value in a JSON file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not JSON; the message names the file and the line.
    """
    try:
        return json.loads(epath.Path(path).read_bytes())
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)}: not JSON ({error}); restore or delete it") from error


def _remote(path: epath.PathLike) -> bool:
    """Returns whether a path is in an object store."""
    return "://" in os.fspath(path)


def sync(path: str | os.PathLike[str]) -> None:
    """Flushes a file or folder to the disk; else a power cut may undo a rename in the folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
