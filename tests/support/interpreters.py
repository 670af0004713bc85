"""Prints which Python the suite is run on besides this one, as "3.13 /path"; nothing without one.

That is the newest of `SUPPORTED` but this one's version, of those on PATH and pyenv's, that works:
a file of that name alone does not count, pyenv has one for every version that somebody has chosen.
"""

import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator, Mapping

SUPPORTED = ("3.13", "3.12", "3.11")  # as setup.py says
_ASK = "import ensurepip, sys, venv; print('%d.%d' % sys.version_info[:2]); print(sys.executable)"


def newest_other(mine: str, environment: Mapping[str, str]) -> tuple[str, str] | None:
    """The version and path of the newest that works and is none of this version; None: there is none.

    Args:
        mine: the version that is left out, such as "3.11".
        environment: where PATH, PYENV_ROOT and HOME are looked up.
    """
    for version in SUPPORTED:
        for path in _candidates(version, environment) if version != mine else ():
            if found := _asked(path, version):
                return version, found
    return None


def _candidates(version: str, environment: Mapping[str, str]) -> Iterator[pathlib.Path]:
    for folder in filter(None, environment.get("PATH", "").split(os.pathsep)):
        yield pathlib.Path(folder) / f"python{version}"
    roots = (environment.get("PYENV_ROOT"), f"{environment.get('HOME', '')}/.pyenv")
    for root in filter(None, roots):
        yield from pathlib.Path(root).glob(f"versions/{version}*/bin/python{version}")


def _asked(path: pathlib.Path, version: str) -> str | None:
    """Where an interpreter says that it is, if it is of this version and can make environments."""
    if not path.is_file():
        return None
    command = [str(path), "-c", _ASK]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    said, _, where = done.stdout.strip().partition("\n")
    return where if done.returncode == 0 and said == version else None


if __name__ == "__main__":
    here = "{}.{}".format(*sys.version_info)
    if other := newest_other(here, os.environ):
        print(*other)
    else:
        others = " or ".join(version for version in SUPPORTED if version != here)
        print(f"no Python {others} works here: tested on {here} alone", file=sys.stderr)
