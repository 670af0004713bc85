"""The choice of a second Python, among ones that are faked."""

import os
import pathlib
import subprocess
import sys

import pytest

import interpreters

BROKEN = "#!/bin/sh\necho pyenv: no such command >&2\nexit 127\n"
SILENT = "#!/bin/sh\nexit 0\n"


def fake(path: pathlib.Path, version: str) -> str:
    """A file that answers as a Python of this version would."""
    return write(path, f"#!/bin/sh\necho {version}\necho {path}\n")


def write(path: pathlib.Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def places(tmp_path: pathlib.Path) -> dict[str, str]:
    path = os.pathsep.join(str(tmp_path / name) for name in ("shims", "bin"))
    return {"PATH": path, "PYENV_ROOT": f"{tmp_path}/pyenv", "HOME": f"{tmp_path}/home"}


@pytest.mark.parametrize(("mine", "chosen"), [("3.11", "3.13"), ("3.13", "3.12"), ("3.12", "3.13")])
def test_the_newest_other_is_chosen(tmp_path, places, mine: str, chosen: str):
    made = {v: fake(tmp_path / f"bin/python{v}", v) for v in ("3.10", "3.11", "3.12", "3.13")}
    assert interpreters.newest_other(mine, places) == (chosen, made[chosen])


@pytest.mark.parametrize("root", ["pyenv", "home/.pyenv"])
def test_those_of_pyenv_are_found(tmp_path, places, root: str):
    made = fake(tmp_path / root / "versions/3.12.4/bin/python3.12", "3.12")
    assert interpreters.newest_other("3.11", places) == ("3.12", made)


@pytest.mark.parametrize("text", [BROKEN, SILENT, "no program at all"])
def test_one_that_does_not_work_is_none(tmp_path, places, text: str):
    write(tmp_path / "shims/python3.13", text)
    assert interpreters.newest_other("3.11", places) is None
    made = fake(tmp_path / "bin/python3.13", "3.13")
    assert interpreters.newest_other("3.11", places) == ("3.13", made)


def test_one_of_another_version_than_its_name_is_none(tmp_path, places):
    fake(tmp_path / "bin/python3.13", "3.12")
    assert interpreters.newest_other("3.11", places) is None


def test_an_older_one_than_is_supported_is_none(tmp_path, places):
    fake(tmp_path / "bin/python3.10", "3.10")
    assert interpreters.newest_other("3.11", places) is None


def test_without_one_nothing_is_printed_but_why(places):
    done = subprocess.run(
        [sys.executable, interpreters.__file__], capture_output=True, text=True, env=places
    )
    assert (done.returncode, done.stdout) == (0, "")
    assert "works here: tested on" in done.stderr
