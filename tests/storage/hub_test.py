"""star_jax/storage/hub.py; conversion/load_test.py and data/tokenizer_loading_test.py have what comes of the download."""

import json
import pathlib

import huggingface_hub
import pytest

from star_jax.storage import hub


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


def test_a_model_that_comes_with_the_package(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    assert (hub.find("shipped:arithmetic", ["*"]) / "model.safetensors").is_file()
    for wrong in ("shipped:arithmetics", "shipped:../shipped/arithmetic", "shipped:"):
        with pytest.raises(hub.NotFoundError) as refused:
            hub.find(wrong, ["*"])
        assert str(refused.value) == (
            f"{wrong}: no such model; this package ships shipped:arithmetic"
        )


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({}, ""),
        ({"config.json": "{}", "model.safetensors": "", "pytorch_model.bin": ""}, ""),
        (
            {
                "adapter_config.json": json.dumps(
                    {"peft_type": "IA3", "base_model_name_or_path": "a/b"}
                )
            },
            "adapter_config.json IA3) for a/b, ",
        ),
        (
            {"config.json": "{}", "adapter_config.json": "torn"},
            "adapter_config.json) for a base model",
        ),
        ({"adapter_config.json": "[]"}, "adapter_config.json) for a base model"),
        ({"config.json": "{}", "adapter_model.bin": ""}, "adapter_model.bin) for a base model"),
    ],
)
def test_an_adapter_is_told_from_a_model(tmp_path: pathlib.Path, files: dict[str, str], says: str):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    found = hub.adapter(tmp_path)
    assert says in found and bool(says) == bool(found)
    assert not found or "merge it into its base and save that" in found
    assert not hub.adapter(tmp_path / "none") and not hub.adapter(tmp_path / "config.json")
