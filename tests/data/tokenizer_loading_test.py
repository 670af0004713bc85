"""Where tokenizers are opened from, and what is refused there."""

import json
import pathlib
import shutil

import huggingface_hub
import pytest
from transformers import AutoTokenizer

import smollm2
from star_jax.data import tokenizer_loading
from star_jax.data.tokenizer_loading import open_source

# Cut into words by digits, "  " is one; by GPT-2's pattern the second space belongs to the digit.
TELLING = "a  1"


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    """A copy of SmolLM2's tokenizer, to be changed."""
    return shutil.copytree(smollm2.folder(), tmp_path / "model")


def change(path: pathlib.Path, **fields) -> None:
    old = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(old | fields))


def test_a_gguf_file():
    hub, ends = open_source(smollm2.gguf())
    assert hub.tokenize(TELLING) == ["a", "ĠĠ", "1"]
    assert ends == [2]


def test_a_folder(folder: pathlib.Path):
    hub, ends = open_source(folder)
    assert hub.tokenize(TELLING) == ["a", "ĠĠ", "1"]
    assert ends == []


def test_tokenizer_json_is_taken_as_it_is(folder: pathlib.Path):
    change(folder / "tokenizer_config.json", tokenizer_class="GPT2Tokenizer")
    change(folder / "config.json", model_type="llama")
    assert open_source(folder)[0].tokenize(TELLING) == ["a", "ĠĠ", "1"]
    # What is kept out: if this fails, transformers' AutoTokenizer reads the file as well.
    assert AutoTokenizer.from_pretrained(folder).tokenize(TELLING) == ["a", "Ġ", "Ġ", "1"]


@pytest.mark.parametrize(
    ("generation", "config", "expected"),
    [
        ({"eos_token_id": [2, 0]}, {"eos_token_id": 5}, [2, 0]),
        ({"eos_token_id": 7}, None, [7]),
        ({}, {"eos_token_id": 5}, [5]),
        (None, {"eos_token_id": [5, 6]}, [5, 6]),
        (None, {"eos_token_id": None}, []),
        (None, None, []),
    ],
)
def test_ends_are_those_of_generation_or_else_of_the_model(
    folder: pathlib.Path, generation, config, expected
):
    for name, fields in (("generation_config", generation), ("config", config)):
        if fields is not None:
            change(folder / f"{name}.json", **fields)
    assert open_source(folder)[1] == expected


@pytest.mark.parametrize("ends", ["</s>", [2, "x"], {"id": 2}])
def test_ends_that_are_no_ids_are_refused(folder: pathlib.Path, ends):
    change(folder / "generation_config.json", eos_token_id=ends)
    with pytest.raises(ValueError, match=r"generation_config\.json: eos_token_id = .* list of ids"):
        open_source(folder)


def test_a_damaged_tokenizer_is_refused(folder: pathlib.Path):
    (folder / "tokenizer.json").write_text('{"version": "1.0", ')
    with pytest.raises(ValueError, match=r"model: no tokenizer can be made .* copy tokenizer.json"):
        open_source(folder)


def test_a_folder_without_one_is_refused(tmp_path: pathlib.Path):
    change(tmp_path / "config.json", model_type="llama")
    with pytest.raises(ValueError, match="no tokenizer can be made of its files"):
        open_source(tmp_path)


def test_code_that_comes_with_a_model_is_not_run(tmp_path: pathlib.Path):
    ran = tmp_path / "ran"
    code = f"import pathlib\npathlib.Path({str(ran)!r}).touch()\nclass Own: ...\n"
    model = tmp_path / "model"
    model.mkdir()
    (model / "own.py").write_text(code)
    mapped = {"AutoTokenizer": ["own.Own", "own.Own"], "AutoConfig": "own.Own"}
    change(model / "config.json", model_type="own", auto_map=mapped)
    change(model / "tokenizer_config.json", tokenizer_class="Own", auto_map=mapped)
    with pytest.raises(ValueError, match="no tokenizer can be made of its files"):
        open_source(model)
    shutil.copy(smollm2.folder() / "tokenizer.json", model)
    assert open_source(model)[0].tokenize(TELLING) == ["a", "ĠĠ", "1"]
    assert not ran.exists()


@pytest.mark.parametrize("name", ["missing.gguf", "owner/missing.gguf", "missing", "a/b/c", "../x"])
def test_what_is_not_there_is_refused(tmp_path: pathlib.Path, monkeypatch, name: str):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="no such file or folder; .* called owner/name"):
        open_source(name)


def test_other_files_are_refused(folder: pathlib.Path):
    with pytest.raises(ValueError, match=r"tokenizer\.json: no folder and no \.gguf file"):
        open_source(folder / "tokenizer.json")


def test_a_name_on_the_hub(monkeypatch):
    asked = []

    def download(name: str, allow_patterns: list[str]) -> str:
        asked.append((name, allow_patterns))
        return str(smollm2.folder())

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert open_source("HuggingFaceTB/SmolLM2-135M")[0].tokenize(TELLING) == ["a", "ĠĠ", "1"]
    assert asked == [("HuggingFaceTB/SmolLM2-135M", tokenizer_loading._PATTERNS)]


def test_a_hub_that_is_out_of_reach(monkeypatch):
    def download(name: str, allow_patterns: list[str]) -> str:
        raise OSError("no route")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(ValueError, match=r"a/b: no such folder here, .* the hub \(no route\)"):
        open_source("a/b")


def test_what_is_saved_names_nothing_that_other_versions_do_not_have(folder: pathlib.Path):
    named = ["<repo_name>", "<reponame>"]
    change(
        folder / "tokenizer_config.json",
        additional_special_tokens=named,
        image_token="<file_sep>",
        tokenizer_class="GPT2Tokenizer",
        clean_up_tokenization_spaces=False,
    )
    tokenizer_loading.save(open_source(folder)[0], folder / "saved")
    said = json.loads((folder / "saved/tokenizer_config.json").read_text())
    said.pop("model_max_length")
    assert said == {
        **{"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "pad_token": "<|im_end|>"},
        **{"unk_token": "<|endoftext|>", "image_token": "<file_sep>"},
        "additional_special_tokens": named,
        "clean_up_tokenization_spaces": False,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    for found in (
        open_source(folder / "saved")[0],
        AutoTokenizer.from_pretrained(folder / "saved"),
    ):
        assert found.tokenize(TELLING) == ["a", "ĠĠ", "1"]
        assert set(named) < set(found.all_special_tokens)
    assert (folder / "saved/chat_template.jinja").exists()
