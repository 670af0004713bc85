"""star_jax/hub.py; load_test.py and tokenizer_source_test.py have what comes of the download."""

import pathlib

import huggingface_hub
import pytest

from star_jax import hub


def refuse(*args: object, **options: object) -> str:
    raise AssertionError("asked the hub")


def test_what_is_here_is_not_asked_for(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner" / "name").mkdir(parents=True)
    assert hub.find("owner/name", ["*"]) == pathlib.Path("owner/name")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert hub.find("~/owner", ["*"]) == tmp_path / "owner"


@pytest.mark.parametrize(
    "source", ["/no/where", "./no/where", "gpt2", "a/b/c", "owner/name.gguf", "../x", "-a/../b"]
)
def test_what_cannot_be_a_name_is_not_asked_for(source: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(hub.NotFoundError, match="no such file or folder; on the hub"):
        hub.find(source, ["*"])
