import dataclasses
import hashlib
import json
import os
import pathlib
import stat
import warnings
from typing import Any

import jax
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

import hugging_face
import sentencepiece_toys
import toys
from star_jax.conversion import export, load
from star_jax.conversion.export import ExportError
from star_jax.runtime import sharding
from toys import eight_devices

VARIANTS = list(hugging_face.VARIANTS)


def digests(folder: pathlib.Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def again(loaded: load.Loaded, folder: pathlib.Path, **change: Any) -> pathlib.Path:
    said = {
        "params": loaded.params,
        "config": loaded.config,
        "family": loaded.family,
        "hf_config": loaded.hf_config,
        "tokenizer": None,
        "folder": folder,
        "shard_bytes": 4000,
    }
    return export.export(**(said | change))


@pytest.mark.torch
@pytest.mark.parametrize("name", VARIANTS)
def test_transformers_opens_it_without_a_remark(
    name: str, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
):
    _, transformers = hugging_face.torch_and_transformers()
    model = hugging_face.make(name, tmp_path / "model")
    loaded = load.load(str(tmp_path / "model"), toys.one_device())
    folder = again(loaded, tmp_path / "export")
    log = transformers.utils.logging
    log.enable_propagation()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opened, info = transformers.AutoModelForCausalLM.from_pretrained(
            folder, attn_implementation="eager", output_loading_info=True
        )
    log.disable_propagation()
    assert not any(info.values()) and not caplog.records
    assert opened.generation_config.eos_token_id == 2
    tokens = hugging_face.tokens()
    expected = hugging_face.theirs(model, tokens)
    assert np.abs(hugging_face.theirs(opened.eval(), tokens) - expected).max() == 0


@pytest.mark.parametrize("name", VARIANTS)
def test_what_is_read_again_and_written_again_has_the_same_bytes(name: str, tmp_path: pathlib.Path):
    hugging_face.write(name, tmp_path / "model")
    loaded = load.load(str(tmp_path / "model"), sharding.make_mesh(1, 1, -1))
    first = again(loaded, tmp_path / "first")
    read = load.load(str(first), toys.one_device())
    second = again(read, tmp_path / "second")
    assert digests(first) == digests(second)
    assert load_all(first).keys() == load_all(tmp_path / "model").keys()
    for key, x in load_all(tmp_path / "model").items():
        assert (x == load_all(first)[key]).all()


def load_all(folder: pathlib.Path) -> dict[str, np.ndarray]:
    return {key: x for path in folder.glob("*.safetensors") for key, x in load_file(path).items()}


@pytest.mark.parametrize("name", ["gpt_neox", "qwen3-tied"])
def test_a_model_is_cut_into_files_of_the_size_asked_for(name: str, tmp_path: pathlib.Path):
    written = hugging_face.write(name, tmp_path / "one")
    assert not list((tmp_path / "one").glob("*.index.json"))
    folder = again(written, tmp_path / "many", shard_bytes=6000)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    files = sorted(path.name for path in folder.glob("*.safetensors"))
    assert files == [f"model-{n + 1:05}-of-{len(files):05}.safetensors" for n in range(len(files))]
    assert len(files) > 3 and sorted(set(index["weight_map"].values())) == files
    sizes = {}
    for file in files:
        tensors = load_file(folder / file)
        sizes[file] = [x.nbytes for x in tensors.values()]
        assert {index["weight_map"][key] for key in tensors} == {file}
        with safe_open(folder / file, "numpy") as opened:
            assert opened.metadata() == {"format": "pt"}
    assert all(sum(each) <= 6000 or len(each) == 1 for each in sizes.values())
    assert index["metadata"]["total_size"] == sum(map(sum, sizes.values()))


@eight_devices
@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o002, 0o664)])
def test_others_may_read_what_the_umask_lets_them(tmp_path: pathlib.Path, mask: int, mode: int):
    before = os.umask(mask)
    try:
        hugging_face.write("llama", tmp_path / "model", shard_bytes=4000)
        sentencepiece_toys.tokenizer().save(tmp_path / "model")
        export.main([str(tmp_path / "model"), str(tmp_path / "exported")])
    finally:
        os.umask(before)
    for folder in ("model", "exported"):
        found = {x.name: stat.S_IMODE(x.stat().st_mode) for x in (tmp_path / folder).iterdir()}
        assert len(found) > 3 and set(found.values()) == {mode}, found
        assert stat.S_IMODE((tmp_path / folder).stat().st_mode) == 0o777 & ~mask


def test_the_mesh_leaves_no_trace(tmp_path: pathlib.Path):
    hugging_face.write("gemma2-untied", tmp_path / "model")
    folders = []
    for number, sizes in enumerate([(8, 1, 1), (2, 2, 2), (1, 1, 8)]):
        loaded = load.load(str(tmp_path / "model"), sharding.make_mesh(*sizes))
        folders.append(again(loaded, tmp_path / str(number)))
    assert digests(folders[0]) == digests(folders[1]) == digests(folders[2])


def test_weights_are_written_in_the_type_they_are_kept_in(tmp_path: pathlib.Path):
    hugging_face.write("llama-old", tmp_path / "model")  # its config.json says torch_dtype
    loaded = load.load(str(tmp_path / "model"), toys.one_device(), param_dtype="bfloat16")
    folder = again(loaded, tmp_path / "export")
    said = json.loads((folder / "config.json").read_text())
    assert said["dtype"] == "bfloat16" and "torch_dtype" not in said
    assert {x.dtype.name for x in load_all(folder).values()} == {"bfloat16"}
    read = load.load(str(folder), toys.one_device(), param_dtype="bfloat16")
    assert hugging_face.same(read.params, loaded.params)


class Saves:
    def __init__(self, **files: str) -> None:
        self._files = files

    def save(self, folder: Any) -> None:
        for name, content in self._files.items():
            (pathlib.Path(folder) / f"{name}.json").write_text(content)


def test_tokenizers_come_along(tmp_path: pathlib.Path):
    written = hugging_face.write("llama", tmp_path / "model")
    folder = again(written, tmp_path / "a", tokenizer=Saves(tokenizer="{}"))
    assert (folder / "tokenizer.json").read_text() == "{}"
    said = json.loads((folder / "generation_config.json").read_text())
    assert said == {"_from_model_config": True, "bos_token_id": 1, "eos_token_id": 2}
    ends = Saves(generation_config='{"eos_token_id": [2, 3]}')
    folder = again(written, tmp_path / "ends", tokenizer=ends)
    said = json.loads((folder / "generation_config.json").read_text())
    assert said == {"bos_token_id": 1, "eos_token_id": [2, 3]}
    for name in ("tokenizer.json", "chat_template.jinja", "generation_config.json", "code.py"):
        (tmp_path / "model" / name).write_text(f'{{"a": "{name}"}}')
    folder = again(written, tmp_path / "b", tokenizer=tmp_path / "model")
    for name in ("tokenizer.json", "chat_template.jinja"):
        assert (folder / name).read_text() == f'{{"a": "{name}"}}'
    said = json.loads((folder / "generation_config.json").read_text())
    assert said == {"a": "generation_config.json", "bos_token_id": 1, "eos_token_id": 2}
    assert not (folder / "code.py").exists()
    with pytest.raises(ExportError, match="no folder with tokenizer files"):
        again(written, tmp_path / "c", tokenizer=tmp_path / "model.gguf")
    assert not (tmp_path / "c").exists()


def test_folders_may_lie_at_home(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    written = hugging_face.write("llama", tmp_path / "model")
    (tmp_path / "model/tokenizer.json").write_text("{}")
    folder = again(written, pathlib.Path("~/a"), tokenizer="~/model")
    assert folder == tmp_path / "a" and (folder / "tokenizer.json").read_text() == "{}"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rope_theta": 3.0, "rope_parameters": None}, "hf_config cannot say rotary_base = 100.0"),
        ({"num_hidden_layers": 2}, "layers = 3, not 2"),
        ({"tie_word_embeddings": True}, "tied = False, not True"),
        ({"surprise": 1}, "surprise = 1: is unknown"),
    ],
)
def test_the_config_must_be_that_of_the_model(
    change: dict[str, Any], message: str, tmp_path: pathlib.Path
):
    written = hugging_face.write("llama", tmp_path / "model")
    with pytest.raises(ExportError, match=f"{message}.*config.json that belongs to these weights"):
        again(written, tmp_path / "export", hf_config={**written.hf_config, **change})
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_model_of_ours_becomes_one_of_gptj(tmp_path: pathlib.Path):
    params = toys.params(toys.SMALL)
    gptj = load.FAMILIES["gptj"]
    folder = export.export(
        params, toys.SMALL, gptj, gptj.write(toys.SMALL), None, tmp_path / "export"
    )
    loaded = load.load(str(folder), toys.one_device())
    assert loaded.config == toys.replace(toys.SMALL, on_cpu=True)
    assert hugging_face.same(loaded.params, params)


class TestPlace:
    """The folder is whole or absent, and nobody else's is touched."""

    def test_an_earlier_export_is_replaced(self, tmp_path: pathlib.Path):
        written = hugging_face.write("llama", tmp_path / "export", shard_bytes=4000)
        again(written, tmp_path / "export", shard_bytes=10**9)
        assert sorted(path.name for path in (tmp_path / "export").iterdir()) == [
            "config.json",
            "generation_config.json",
            "model.safetensors",
        ]
        assert [path.name for path in tmp_path.iterdir()] == ["export"]

    def test_a_run_is_not(self, tmp_path: pathlib.Path):
        (tmp_path / "export" / "checkpoints").mkdir(parents=True)
        (tmp_path / "export" / "config.json").write_text("{}")
        with pytest.raises(ExportError, match="export: is there and is no model; choose another"):
            hugging_face.write("llama", tmp_path / "export")
        assert (tmp_path / "export" / "checkpoints").exists()

    def test_something_else_is_not(self, tmp_path: pathlib.Path):
        (tmp_path / "export").mkdir()
        (tmp_path / "export" / "thesis.tex").write_text("")
        with pytest.raises(ExportError, match="export: is there and is no model; choose another"):
            hugging_face.write("llama", tmp_path / "export")
        assert (tmp_path / "export" / "thesis.tex").exists()

    @pytest.mark.parametrize("tensors", [0, 1, 7])
    def test_a_killed_export_leaves_the_old_one(
        self, tensors: int, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
    ):
        written = hugging_face.write("llama", tmp_path / "export")
        before = digests(tmp_path / "export")
        left = iter(range(tensors))
        original = export.safetensors.numpy.save_file

        def save_file(*args: Any, **kwargs: Any) -> None:
            if next(left, None) is None:
                raise KeyboardInterrupt
            original(*args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(export.safetensors.numpy, "save_file", save_file)
            with pytest.raises(KeyboardInterrupt):
                again(written, tmp_path / "export")
        assert digests(tmp_path / "export") == before
        assert len(list(tmp_path.iterdir())) == 2  # what it left goes with the next one
        again(written, tmp_path / "export", shard_bytes=10**9)
        assert digests(tmp_path / "export") == before
        assert [path.name for path in tmp_path.iterdir()] == ["export"]


def test_a_model_that_was_trained_on_is_what_is_written(tmp_path: pathlib.Path):
    written = hugging_face.write("gpt2", tmp_path / "model")
    moved = dataclasses.replace(
        written, params=jax.tree.map(lambda x: x + x.dtype.type(1), written.params)
    )
    folder = again(moved, tmp_path / "export")
    old, new = load_all(tmp_path / "model"), load_all(folder)
    assert all((new[key] == old[key] + 1).all() for key in old)
