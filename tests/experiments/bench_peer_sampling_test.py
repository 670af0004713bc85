"""The peer of the sampler (experiments/bench/peer_sampling.py) on small models."""

import dataclasses
import pathlib
import types
from collections.abc import Iterable
from typing import Any, cast

import pytest

import hugging_face
from experiments.bench.peer_sampling import Peer, Setting
from experiments.bench.workload import Questions


class Letters:
    """A tokenizer for the small models: a token a character."""

    pad_id = 0
    bos_id = None
    eos_id = 2
    eos_ids = (2,)
    vocab_size = hugging_face.VOCAB

    def encode(self, text: str) -> list[int]:
        return [3 + ord(letter) - ord("A") for letter in text]

    def decode(self, ids: Iterable[int]) -> str:
        return b"".join(self.token_bytes()[id_] for id_ in ids).decode()

    def token_bytes(self) -> list[bytes]:
        return [b""] * 3 + [bytes([ord("A") + i]) for i in range(self.vocab_size - 3)]

    def save(self, folder: object) -> None:
        raise NotImplementedError


TEXTS = ["CAB", "A", "ZEBRAS", "QUEEN", "OX", "DADA", "FED"]


def questions(stop: str = "", ends: tuple[int, ...] = ()) -> Questions:
    letters, texts = Letters(), cast(Any, TEXTS)
    prompter: Any = types.SimpleNamespace(
        tokenizer=letters,
        few_shot=lambda hint: letters.encode("ONCEUPONATIME"),
        prompt_ids=lambda text, hint, with_few_shot: letters.encode(text),
    )
    return Questions(prompter, texts, False, 12, stop, ends)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    hugging_face.torch_and_transformers()
    path = tmp_path_factory.mktemp("llama")
    hugging_face.make("llama-old", path)
    return path


@pytest.fixture(scope="module")
def plain(folder: pathlib.Path) -> list[list[int]]:
    """What `generate` writes for each question alone: no padding and no cache from before."""
    torch, transformers = hugging_face.torch_and_transformers()
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    model.generation_config = transformers.GenerationConfig(pad_token_id=0)
    written = []
    for row in questions().encode():
        prompt = torch.tensor([[*questions().prefix, *row]])
        mask = torch.ones_like(prompt)
        found = model.generate(prompt, attention_mask=mask, max_new_tokens=12, do_sample=False)
        written.append(found[0, prompt.shape[1] :].tolist())
    return written


@pytest.mark.parametrize("cache", ["dynamic", "static", "none"])
def test_batches_behind_one_prefix_write_what_each_question_writes_alone(
    cache: str, folder: pathlib.Path, plain: list[list[int]]
):
    peer = Peer(folder, Setting(cache, batch=3))  # pyright: ignore[reportArgumentType]
    assert len({tuple(row) for row in plain}) > 3  # it does depend on the question
    for _ in range(2):  # the second time from caches that are cut back
        sampled = peer.run(questions())
        assert sampled.rows == plain
        assert sampled.tokens == 12 * len(TEXTS) and sampled.seconds > 0
        assert sampled.texts == [Letters().decode(row) for row in plain]


def test_a_row_ends_with_the_stop_text_or_an_end_of_text(
    folder: pathlib.Path, plain: list[list[int]]
):
    text = Letters().decode(plain[2])
    work = questions(stop=text[3:5], ends=(plain[0][6],))
    expected = []
    for row in plain:
        length = 1
        while length < len(row) and not (
            row[length - 1] in work.ends or work.stop in Letters().decode(row[:length])
        ):
            length += 1
        expected.append(row[:length])
    assert len(expected[2]) <= 5 and len(expected[0]) <= 7
    assert Peer(folder, Setting(batch=4)).run(work).rows == expected
    one = dataclasses.replace(work, stop=text[3])
    assert len(Peer(folder, Setting("dynamic")).run(one).rows[2]) <= 4


def test_bfloat16_writes_as_much(folder: pathlib.Path):
    sampled = Peer(folder, Setting(dtype="bfloat16")).run(questions())
    assert [len(row) for row in sampled.rows] == [12] * len(TEXTS)


def test_a_setting_says_what_it_is():
    assert str(Setting()) == "static cache, batch 32, float32"
