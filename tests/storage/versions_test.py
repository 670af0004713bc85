import io
import pathlib

import pytest
from etils import epath
from rich.console import Console

from star_jax.storage import files, versions

OLD = {"python": "3.11.7", "jax": "0.10.2", "flax": "0.12.8"}
NEW = OLD | {"python": "3.12.1", "jax": "0.12.0.1"}


def shown_at_start(
    folder: pathlib.Path, *starts: dict[str, str], monkeypatch, started: bool = False
) -> str:
    """What the terminal shows at the last of these starts."""
    for number, these in enumerate(starts):
        monkeypatch.setattr(versions, "installed", lambda these=these: these)
        versions.record(epath.Path(folder), started=started or number > 0)
    console = Console(width=80, file=io.StringIO(), record=True)
    versions.report(console, epath.Path(folder))
    return console.export_text()


def test_python_jax_and_what_else_decides_bytes_are_named():
    found = versions.installed()
    assert {"python", "star_jax", "jax", "jaxlib", "flax", "orbax-checkpoint", "numpy"} <= {*found}
    assert all(version[0].isdigit() for version in found.values())


@pytest.mark.parametrize(
    ("starts", "kept"),
    [([OLD], [OLD]), ([OLD, OLD], [OLD]), ([OLD, NEW, NEW, OLD], [OLD, NEW, OLD])],
)
def test_a_start_is_kept_where_its_versions_are_others(
    tmp_path: pathlib.Path, monkeypatch, starts, kept
):
    shown_at_start(tmp_path, *starts, monkeypatch=monkeypatch)
    assert files.read_json(tmp_path / versions.FILE) == kept


@pytest.mark.parametrize("starts", [[], [OLD], [OLD, OLD]])
def test_the_same_versions_need_no_words(tmp_path: pathlib.Path, monkeypatch, starts):
    assert shown_at_start(tmp_path, *starts, monkeypatch=monkeypatch) == ""


@pytest.mark.parametrize(
    ("starts", "was", "now"),
    [
        ([OLD, NEW], "python 3.11.7, jax 0.10.2 before", "python 3.12.1, jax 0.12.0.1:"),
        ([OLD, NEW, NEW], "python 3.11.7, jax 0.10.2 before", "python 3.12.1, jax 0.12.0.1:"),
        ([OLD, NEW, OLD], "python 3.12.1, jax 0.12.0.1 before", "python 3.11.7, jax 0.10.2:"),
        ([OLD, NEW, NEW | {"jax": "1"}], "jax 0.10.2 and 0.12.0.1 before", "jax 1:"),
    ],
)
def test_other_versions_are_said_in_one_line(
    tmp_path: pathlib.Path, monkeypatch, starts, was: str, now: str
):
    (line,) = shown_at_start(tmp_path, *starts, monkeypatch=monkeypatch).splitlines()
    assert was in line and f"now with {now}" in line.replace("python 3.12.1, jax 1:", "jax 1:")
    assert "flax" not in line and "may differ" in line


def test_a_folder_that_has_no_record_goes_on_and_gets_one(tmp_path: pathlib.Path, monkeypatch):
    assert shown_at_start(tmp_path, NEW, monkeypatch=monkeypatch, started=True) == ""
    assert files.read_json(tmp_path / versions.FILE) == [{}, NEW]
    assert "jax 0.12.0.1 before" in shown_at_start(
        tmp_path, OLD, monkeypatch=monkeypatch, started=True
    )


def test_a_version_that_is_asked_for_later_is_no_change(tmp_path: pathlib.Path, monkeypatch):
    assert shown_at_start(tmp_path, OLD, OLD | {"scipy": "1.18"}, monkeypatch=monkeypatch) == ""
