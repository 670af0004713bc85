"""Log-probabilities of targets: against transformers, the loss and the formula, however batched."""

import functools
import pathlib
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx

import hugging_face as hf
import reference
import toys
from star_jax.conversion import load
from star_jax.data import packing
from star_jax.data.packing import Example
from star_jax.models import abstract_params, prefix_tokens
from star_jax.models import loss as loss_lib
from star_jax.models.config import for_mesh
from star_jax.models.params import Params
from star_jax.runtime import sharding
from star_jax.runtime.compile import Compiler
from star_jax.training import scoring
from star_jax.training.scoring import ScorePrograms
from star_jax.training.step import token_loss
from toys import BYTES, eight_devices

ONE = (1, 1, 1)
EXAMPLES = toys.documents([24, 9, 13, 5, 17, 24, 20, 3, 11, 8, 22, 6, 1, 2], 259)
SHOWN = [5, 9, 100, 3, 20]
COUNTS = [np.count_nonzero(example.weights) for example in EXAMPLES]
BEFORE = pytest.mark.parametrize("before", [[], SHOWN], ids=["alone", "after a few-shot prompt"])


def compiled(config: Any, mesh: Any, **shape: int) -> ScorePrograms:
    compiler = Compiler()
    programs = ScorePrograms(compiler, config, mesh, **shape)
    compiler.finish()
    compiler.stop()
    return programs


@functools.cache
def made(
    devices: tuple[int, int, int] = ONE, batch: int = 3, length: int = 24, prefix: int = 0
) -> ScorePrograms:
    mesh = sharding.make_mesh(*devices, devices=jax.devices()[: int(np.prod(devices))])
    config = for_mesh(BYTES, mesh)
    return compiled(config, mesh, batch_size=batch, length=length, prefix_length=prefix)


@functools.cache
def weights(devices: tuple[int, int, int] = ONE) -> Params:
    mesh = sharding.make_mesh(*devices, devices=jax.devices()[: int(np.prod(devices))])
    shapes = abstract_params.abstract_params(for_mesh(BYTES, mesh), mesh)
    return jax.device_put(toys.params(BYTES), jax.tree.map(lambda x: x.sharding, shapes))


def score(programs: ScorePrograms, examples: list[Example], before: list[int]) -> list[np.ndarray]:
    return programs.score(weights(), examples, before)


def close(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    assert [x.shape for x in found] == [x.shape for x in expected]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=2e-5)


def formula(example: Example, before: list[int]) -> np.ndarray:
    """By numpy in float64, the document alone."""
    tokens = [*before, *example.tokens.tolist()]
    logits = reference.logits(BYTES, reference.weights(toys.params(BYTES)), tokens)
    probabilities = reference.softmax(logits)
    targets = np.flatnonzero(example.weights)
    return np.log([probabilities[len(before) + t - 1, example.tokens[t]] for t in targets])


@BEFORE
def test_is_the_formula_of_each_example_in_the_given_order(before: list[int]):
    found = score(made(prefix=16 if before else 0), EXAMPLES, before)
    assert all(x.dtype == np.float32 for x in found)
    close(found, [formula(example, before) for example in EXAMPLES])


@pytest.mark.torch
@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma3-old"])
@pytest.mark.parametrize("shared", [0, 5], ids=["alone", "after a few-shot prompt"])
def test_is_what_transformers_says(name: str, shared: int, tmp_path: pathlib.Path):
    theirs = hf.make(name, tmp_path / "model")
    loaded = load.load(str(tmp_path / "model"), toys.one_device())
    before = hf.tokens()[0, :shared].tolist()
    examples = toys.documents([7, 11, 5, 24, 3, 16], hf.VOCAB, seed=4)
    programs = compiled(
        loaded.config, toys.one_device(), batch_size=2, length=24, prefix_length=8 if shared else 0
    )
    torch, _ = hf.torch_and_transformers()
    found = programs.score(loaded.params, examples, before)
    for example, mine in zip(examples, found, strict=True):
        tokens = np.array([[*before, *example.tokens]])
        logits = torch.tensor(hf.theirs(theirs, tokens)[0])
        whole = torch.log_softmax(logits[:-1], -1)
        every = whole.gather(1, torch.tensor(tokens[0, 1:, None]))[:, 0].numpy()
        expected = every[len(every) - len(example.tokens) + 1 :][example.weights[1:] > 0]
        np.testing.assert_allclose(mine, expected, atol=1e-4, rtol=1e-4)


@BEFORE
def test_their_sum_is_minus_the_loss(before: list[int]):
    batch = toys.batch(packing.pack(EXAMPLES, 24))
    shown = None
    if before:
        shown = prefix_tokens.device_put(toys.one_device(), before, 16)
    model = nnx.merge(toys.graph(BYTES), toys.params(BYTES))
    loss = float(jax.jit(lambda: token_loss(model, batch, shown))()[0])
    found = score(made(prefix=16 if before else 0), EXAMPLES, before)
    assert sum(map(np.sum, found)) == pytest.approx(-loss, rel=1e-5)


@BEFORE
def test_neighbours_and_shapes_change_nothing(before: list[int]):
    prefix = 16 if before else 0
    expected = score(made(prefix=prefix), EXAMPLES, before)
    order = np.random.default_rng(1).permutation(len(EXAMPLES))
    moved = score(made(prefix=prefix), [EXAMPLES[index] for index in order], before)
    close(moved, [expected[index] for index in order])
    close(score(made(prefix=prefix), EXAMPLES[3:4], before), expected[3:4])
    close(score(made(prefix=prefix, batch=4, length=61), EXAMPLES, before), expected)


def test_room_for_a_few_shot_prompt_changes_nothing_without_one():
    close(score(made(prefix=16), EXAMPLES, []), score(made(), EXAMPLES, []))


@eight_devices
@pytest.mark.parametrize("devices", [(8, 1, 1), (1, 8, 1), (2, 2, 2)], ids=str)
@BEFORE
def test_a_mesh_changes_nothing(devices: tuple[int, int, int], before: list[int]):
    prefix = 16 if before else 0
    programs = made(devices, prefix=prefix)
    assert programs.batch_size == (4 if devices == (2, 2, 2) else 8)
    found = programs.score(weights(devices), EXAMPLES, before)
    close(found, score(made(prefix=prefix), EXAMPLES, before))


def test_batches_are_told_and_the_weights_are_kept():
    told: list[int] = []
    for _ in range(2):
        told.clear()
        made().score(weights(), EXAMPLES, on_batch=told.append)
    assert sum(told) == len(EXAMPLES) and len(told) > 1


def test_what_has_no_target_has_no_score():
    assert made().score(weights(), []) == []
    nothing = packing.example([5, 6, 7], [])
    found = made().score(weights(), [nothing, EXAMPLES[0]])
    assert [len(x) for x in found] == [0, COUNTS[0]]


def test_logits_are_never_there_whole():
    batch = jax.tree.map(
        lambda x: np.tile(x, (2, 64)), packing.pack(EXAMPLES, 24).rows(np.arange(4))
    )
    model = nnx.merge(toys.graph(BYTES), toys.params(BYTES))
    traced = str(jax.make_jaxpr(lambda: scoring.log_probs(model, toys.batch(batch)))())
    assert f"f32[8,{loss_lib.CHUNK},{BYTES.vocab}]" in traced
    assert f"1535,{BYTES.vocab}]" not in traced and f"1536,{BYTES.vocab}]" not in traced


@pytest.mark.parametrize(
    ("tokens", "before", "says"),
    [
        ([5] * 25, [], "example 1 has 25 tokens and a packed sequence only 24"),
        ([5, 272], [], "example 1 holds token 272, and the model has rows for 0 to 271"),
        ([5, -1], [], "example 1 holds token -1"),
        ([5, 6], [7] * 17, "few-shot prompt has 17 tokens and these programs have room for 16"),
        ([5, 6], [7, 300], "few-shot prompt holds tokens 7 to 300, and the model has rows for 0"),
    ],
)
def test_what_cannot_be_scored_is_named(tokens: list[int], before: list[int], says: str):
    bad = packing.example(tokens[:1], tokens[1:])
    with pytest.raises(ValueError, match=says):
        made(prefix=16).score(weights(), [EXAMPLES[0], bad], before)


def test_a_target_without_a_token_before_it_is_named():
    with pytest.raises(ValueError, match="example 1: its first token is a target"):
        made().score(weights(), [EXAMPLES[0], packing.example([], [5, 6])])


def test_what_the_context_does_not_hold_is_named(monkeypatch: pytest.MonkeyPatch):
    programs = made(prefix=16)
    monkeypatch.setattr(programs, "config", toys.replace(programs.config, context=28))
    assert len(score(programs, EXAMPLES, SHOWN[:4])) == len(EXAMPLES)
    with pytest.raises(ValueError, match="example 0 has 24 tokens after a few-shot prompt of 5"):
        score(programs, EXAMPLES, SHOWN)
