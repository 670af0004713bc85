import math
import multiprocessing
import os
import re
import signal
import stat
import time
from pathlib import Path
from typing import Any

import fsspec
import pytest
from etils import epath
from fsspec.implementations.memory import MemoryFileSystem

from star_jax.storage import files


@pytest.mark.parametrize(
    ("data", "written"), [("é\r\n", "é\r\n".encode()), (b"\0\xff", b"\0\xff"), ("", b"")]
)
def test_what_is_written_is_what_was_given(tmp_path: Path, data: str | bytes, written: bytes):
    files.write_atomic(tmp_path / "made" / "for it" / "file", data)
    assert (tmp_path / "made" / "for it" / "file").read_bytes() == written


@pytest.mark.parametrize("kind", [str, Path, epath.Path])
def test_a_second_write_replaces_the_first_and_leaves_nothing_else(tmp_path: Path, kind: type):
    path = kind(tmp_path / "file")
    files.write_atomic(path, "a long first version")
    files.write_atomic(path, "second")
    assert (tmp_path / "file").read_text() == "second"
    assert os.listdir(tmp_path) == ["file"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    files.write_atomic(tmp_path / "file", "old")

    def full_disk(descriptor: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="no space left"):
        files.write_atomic(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "old"


def _write_for_ever(path: str) -> None:
    version = 0
    while True:
        version += 1
        files.write_atomic(path, f"{version} " * 20_000)


def test_a_killed_writer_leaves_a_whole_file(tmp_path: Path):
    path = tmp_path / "file"
    spawn = multiprocessing.get_context("spawn")
    for delay in (0.0, 0.003, 0.01):
        writer = spawn.Process(target=_write_for_ever, args=(str(path),))
        path.unlink(missing_ok=True)
        writer.start()
        deadline = time.monotonic() + 60
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(delay)
        assert writer.pid is not None
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        words = path.read_text().split()
        assert len(words) == 20_000 and len(set(words)) == 1


def test_json_survives_the_round_trip_in_its_order(tmp_path: Path):
    value = {"z": [1, 2.5, None, True], "a": {"é": "\u2028"}}
    files.write_json(tmp_path / "value.json", value)
    assert files.read_json(tmp_path / "value.json") == value
    assert list(files.read_json(tmp_path / "value.json")) == ["z", "a"]
    assert (tmp_path / "value.json").read_text().endswith("}\n")


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_json_has_no_word_for_nan(tmp_path: Path, number: float):
    with pytest.raises(ValueError):
        files.write_json(tmp_path / "value.json", {"loss": number})
    assert not (tmp_path / "value.json").exists()


@pytest.mark.parametrize("text", ['{"a": 1', "", "\udcff".encode("utf-8", "surrogateescape")])
def test_what_is_not_json_is_named(tmp_path: Path, text: str | bytes):
    files.write_atomic(tmp_path / "value.json", text)
    with pytest.raises(ValueError, match=re.escape(f"{tmp_path}/value.json: not JSON")):
        files.read_json(tmp_path / "value.json")


def test_a_missing_file_is_told_from_a_damaged_one(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        files.read_json(tmp_path / "none.json")


def test_sweeping_removes_unfinished_files_at_any_depth_and_no_others(tmp_path: Path):
    for name in ("a.json", "a.json.tmp-12", "b/c/d.jsonl.tmp-3456", "b/c/d.tmp", "b.tmp-x"):
        files.write_atomic(tmp_path / name, "")
    files.sweep(tmp_path)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"a.json", "b/c/d.tmp", "b.tmp-x"}
    files.sweep(tmp_path / "not there")
    files.sweep("gs://bucket/run")  # never asked


class Bucket(MemoryFileSystem):
    """An object store in memory that remembers what it has listed and does not append, as gcsfs."""

    protocol = ("gs", "gcs")

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return "/" + path.removeprefix("gs://").strip("/")

    def ls(self, path: str, detail: bool = True, **more: Any) -> Any:
        path = self._strip_protocol(path)
        if path not in self.dircache:
            self.dircache[path] = super().ls(path, detail=True, **more)
        found: Any = self.dircache.get(path) or super().ls(path, detail=True, **more)
        return found if detail else [one["name"] for one in found]

    def open(self, path: str, mode: str = "rb", *more: Any, **named: Any) -> Any:
        return super().open(path, mode.replace("a", "w"), *more, **named)


@pytest.fixture
def bucket(tmp_path: Path) -> epath.Path:
    fsspec.register_implementation("gcs", Bucket, clobber=True)
    return epath.Path(f"gs://bucket{tmp_path}")  # another one for each test


def test_what_another_process_has_put_into_an_object_store_is_seen(bucket: epath.Path):
    other, folder = Bucket(skip_instance_cache=True), str(bucket)
    files.write_atomic(bucket / "one", "1")
    assert [path.name for path in bucket.iterdir()] == ["one"]
    other.pipe_file(f"{folder}/two", b"2")
    assert sorted(path.name for path in bucket.iterdir()) == ["one", "two"]
    remembering = Bucket(skip_instance_cache=True, use_listings_cache=True)
    assert len(remembering.ls(folder)) == 2
    other.pipe_file(f"{folder}/three", b"3")
    assert len(remembering.ls(folder)) == 2  # as it would be


def test_lines_are_added_to_a_file_and_to_an_object(tmp_path: Path, bucket: epath.Path):
    for folder in (epath.Path(tmp_path), bucket):
        for line in ("one", "two", "three"):
            files.append_line(folder / "lines", line)
        assert (folder / "lines").read_text() == "one\ntwo\nthree\n"


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_files_have_the_mode_that_the_umask_gives(tmp_path: Path, mask: int, mode: int):
    before = os.umask(mask)
    try:
        files.write_atomic(tmp_path / "whole", "text")
        (tmp_path / "library").touch(0o600)
        files.as_new(tmp_path / "library")
    finally:
        os.umask(before)
    found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert found == {"whole": mode, "library": mode}
