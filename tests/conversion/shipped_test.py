"""The demo's base model, which comes with the package: `make base` makes it."""

import pathlib

import pytest
from transformers import AutoTokenizer

from star_jax.conversion import load
from star_jax.data.tokenizer import ByteTokenizer
from star_jax.runtime import sharding
from star_jax.star.sampler import Sampler
from star_jax.storage import hub
from star_jax.tasks.arithmetic import Arithmetic

NAME = "shipped:arithmetic"


def test_its_files_are_small():
    sizes = {path.name: path.stat().st_size for path in hub.find(NAME, []).iterdir()}
    assert set(sizes) == {
        *("config.json", "generation_config.json", "model.safetensors"),
        *("tokenizer.json", "tokenizer_config.json"),
    }
    assert sum(sizes.values()) <= 2_000_000


def test_its_shape_and_tokens_are_those_that_the_config_would_make():
    config = load.check(NAME, sharding.make_mesh())
    assert (config.layers, config.width, config.heads, config.head_dim) == (4, 128, 4, 32)
    assert (config.hidden, config.rotary, config.context, config.vocab) == (512, 16, 1024, 272)
    problem = Arithmetic().train(0, 1, 5)[4]
    text = Arithmetic().prompt(problem, True) + Arithmetic().completion(
        problem.rationale, problem.answer
    )
    stored = AutoTokenizer.from_pretrained(pathlib.Path(hub.find(NAME, [])))
    assert stored(text, add_special_tokens=False).input_ids == ByteTokenizer(
        Arithmetic.markup
    ).encode(text)


@pytest.mark.parametrize(("hint", "least", "most"), [(True, 20, 20), (False, 0, 4)])
def test_it_follows_the_hint_and_cannot_add(hint: bool, least: int, most: int):
    task = Arithmetic(ood_digits=0)
    problems = task.evaluation(0, 4, 0)
    sampler = Sampler.open(NAME, max_new_tokens=160)
    written = sampler([task.prompt(problem, hint) for problem in problems])
    right = [
        task.answer(text) == problem.answer for text, problem in zip(written, problems, strict=True)
    ]
    assert len(right) == 20 and least <= sum(right) <= most
