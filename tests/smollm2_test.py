"""SmolLM2-135M-Instruct, a real model: from its GGUF file to a folder for transformers."""

import pathlib

import jax
import pytest

import hugging_face as hf
import smollm2
import texts
from star_jax import mesh
from star_jax.model import export, load


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    loaded = load.load(str(smollm2.gguf()), mesh.make_mesh(devices=jax.devices()[:1]))
    folder = tmp_path_factory.mktemp("smollm2") / "export"
    arguments = (loaded.params, loaded.config, loaded.family, loaded.hf_config)
    return export.export(*arguments, smollm2.tokenizer(), folder)


def test_the_export_has_the_tokenizer_and_the_chat_template(exported: pathlib.Path):
    _, transformers = hf.torch_and_transformers()
    theirs = transformers.AutoTokenizer.from_pretrained(exported)
    for text in texts.questions(20):
        assert theirs(text, add_special_tokens=False).input_ids == smollm2.tokenizer().encode(text)
    messages = [{"role": "user", "content": "What is 6 + 7?"}]
    said = theirs.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert said == smollm2.tokenizer().chat(messages)
