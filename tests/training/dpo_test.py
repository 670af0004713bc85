import functools
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import Mesh

import hugging_face
import toys
from star_jax.conversion import load
from star_jax.data.packing import Example
from star_jax.data.pair_batches import PairBatch, PairData
from star_jax.models.attention import attend_segments
from star_jax.models.config import ModelConfig, for_mesh
from star_jax.models.params import Params
from star_jax.runtime import sharding
from star_jax.runtime.compile import Compiler
from star_jax.training import dpo, optimizer
from star_jax.training.dpo import DpoPrograms, DpoSpec
from toys import ONE_LAYER

BETA = 0.3
PAIRS, LENGTH = 4, 24
DRAWS = np.random.default_rng(0)


def text(size: int, prompt: int) -> Example:
    """A random document of `size` tokens, the first `prompt` of which are given."""
    weights = np.ones(size, np.float32)
    weights[:prompt] = 0
    return Example(DRAWS.integers(3, ONE_LAYER.vocab, size).astype(np.int32), weights)


TEXTS = [(text(9, 3), text(12, 3)), (text(4, 1), text(8, 1)), (text(7, 5), text(6, 5)), (text(11, 2), text(3, 2))]  # fmt: skip
REFERENCE = DRAWS.normal(size=(PAIRS, 2), scale=3).astype(np.float32) - 12
DATA = PairData(TEXTS, PAIRS, steps=1, seed=0)


def batch(most_rows: int = 0, reference: np.ndarray = REFERENCE) -> tuple[PairBatch, Any]:
    """All pairs; with fewer rows in more micro-batches."""
    shape = DATA.shape(LENGTH, 1, most_rows)
    [found] = DATA.batches(shape, reference)
    return jax.tree.map(jnp.asarray, found), shape


def sums(config: ModelConfig, params: Params, batch: PairBatch, remat: bool = False) -> Any:
    """Gradients and metrics, summed over pairs, of all micro-batches."""

    every = [
        _sums(config, remat, params, jax.tree.map(lambda x, part=part: x[part], batch))
        for part in range(len(batch.reference))
    ]
    return functools.reduce(lambda a, b: jax.tree.map(jnp.add, a, b), every)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _sums(config: ModelConfig, remat: bool, params: Params, part: PairBatch) -> Any:
    def loss(params: Params) -> Any:
        model = nnx.merge(toys.graph(config), params)
        return dpo.pair_loss(model, part, BETA, remat=remat)

    (_, metrics), grads = jax.value_and_grad(loss, has_aux=True)(params)
    return grads, metrics


def log_likelihoods(config: ModelConfig, params: Params) -> jax.Array:
    """Of the weighted tokens of each text, [pairs, 2], from all logits of a row a text."""
    model = nnx.merge(toys.graph(config), params)
    rows = [one for pair in TEXTS for one in pair]
    tokens, weights = (
        jnp.array([np.pad(x, (0, LENGTH - len(x))) for x in column])
        for column in zip(*((one.tokens, one.weights) for one in rows), strict=True)
    )
    positions = jnp.broadcast_to(jnp.arange(LENGTH), tokens.shape)
    x, _ = model.hidden(tokens, positions, attend_segments(jnp.ones_like(tokens)))
    log_probs = jax.nn.log_softmax(model.logits(x)[:, :-1])
    of_targets = jnp.take_along_axis(log_probs, tokens[:, 1:, None], 2)[..., 0]
    return (of_targets * weights[:, 1:]).sum(1).reshape(PAIRS, 2)


def paper_loss(config: ModelConfig, params: Params) -> jax.Array:
    """The paper's equation 7, summed over the pairs, to be differentiated as it stands."""
    ratios = log_likelihoods(config, params) - REFERENCE
    return -jnp.log(1 / (1 + jnp.exp(-BETA * (ratios[:, 0] - ratios[:, 1])))).sum()


def close(found: Any, expected: Any, rtol: float = 1e-4, atol: float = 2e-5) -> None:
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=rtol, atol=atol), found, expected)  # fmt: skip


@pytest.mark.parametrize("on_cpu", [False, True], ids=["anywhere", "cpu"])
def test_loss_and_gradient_are_those_of_the_formula(on_cpu: bool):
    config = toys.replace(ONE_LAYER, on_cpu=on_cpu)
    params = toys.params(config, seed=2)
    expected, slope = jax.jit(jax.value_and_grad(functools.partial(paper_loss, config)))(params)
    for most_rows, parts in ((0, 1), (2, 2), (1, 4)):
        pairs, shape = batch(most_rows)
        assert shape.parts == parts
        grads, metrics = sums(config, params, pairs)
        assert float(metrics["loss"]) == pytest.approx(float(expected), rel=1e-5)
        close(grads, slope)
    assert min(np.abs(x).max() for x in jax.tree.leaves(slope)) > 1e-4


def test_gradients_are_the_same_where_blocks_are_computed_again():
    params = toys.params(ONE_LAYER, seed=2)
    plain, again = (sums(ONE_LAYER, params, batch()[0], remat) for remat in (False, True))
    close(again, plain)


def test_at_the_reference_model_the_margins_are_0():
    params = toys.params(ONE_LAYER)
    own = jax.jit(log_likelihoods, static_argnums=0)(ONE_LAYER, params)
    _, metrics = sums(ONE_LAYER, params, batch(reference=np.asarray(own))[0])
    assert float(metrics["loss"]) == pytest.approx(PAIRS * np.log(2), abs=1e-4)
    assert float(metrics["reward_margin"]) == pytest.approx(0, abs=1e-4)


@pytest.mark.torch
@pytest.mark.parametrize("name", ["gptj", "llama"])
def test_is_what_torch_differentiates(name: str, tmp_path: pathlib.Path):
    """The paper's formula on transformers' model in float32.

    trl 1.16.0 (DPOTrainer, CPU, float32) was held against the same programs by hand, on four pairs
    of the byte-level tokenizer: equal token ids, loss 0.0361691 there and 0.0361690 here, and
    gradients up to 0.22 that differ by at most 8.2e-7.
    """
    torch, _ = hugging_face.torch_and_transformers()
    model = hugging_face.make(name, tmp_path / "policy", seed=0)
    before = hugging_face.make(name, tmp_path / "reference", seed=1)

    def likelihood(of: Any, one: Example) -> Any:
        tokens = torch.tensor(one.tokens.astype(np.int64))
        log_probs = torch.log_softmax(of(tokens[None]).logits[0, :-1].float(), -1)
        return (log_probs.gather(1, tokens[1:, None])[:, 0] * torch.tensor(one.weights[1:])).sum()

    with torch.no_grad():
        reference = [[float(likelihood(before, one)) for one in pair] for pair in TEXTS]
    ratios = [
        (likelihood(model, one) - own_one) - (likelihood(model, other) - own_other)
        for (one, other), (own_one, own_other) in zip(TEXTS, reference, strict=True)
    ]
    expected = torch.stack([-torch.nn.functional.logsigmoid(BETA * ratio) for ratio in ratios])
    expected.mean().backward()
    expected, ratios = expected.detach(), [float(ratio.detach()) for ratio in ratios]
    with torch.no_grad():
        for weight in model.parameters():  # so that the gradients can be read as weights are
            weight.copy_(weight.grad)
    model.save_pretrained(tmp_path / "gradients")

    mesh = toys.one_device()
    loaded, slopes = (load.load(str(tmp_path / part), mesh) for part in ("policy", "gradients"))
    pairs, _ = batch(reference=np.array(reference, np.float32))
    grads, metrics = sums(loaded.config, loaded.params, pairs)
    assert float(metrics["loss"]) == pytest.approx(float(expected.sum()), rel=1e-5)
    assert float(metrics["reward_margin"]) == pytest.approx(BETA * sum(ratios), rel=1e-4)
    assert metrics["reward_accuracy"] == sum(ratio > 0 for ratio in ratios)
    close(jax.tree.map(lambda x: x / PAIRS, grads), slopes.params)


def programs(mesh: Mesh, most_rows: int = 0) -> tuple[DpoPrograms, Params, PairBatch]:
    """Programs that are compiled, weights to use up, and a batch."""
    shape = DATA.shape(LENGTH, sharding.batch_multiple(mesh), most_rows)
    spec = DpoSpec(optimizer.make_optimizer(clip=1.0), BETA, shape)
    compiler = Compiler()
    made = DpoPrograms(compiler, for_mesh(ONE_LAYER, mesh), mesh, spec)
    compiler.finish()
    params = toys.params(ONE_LAYER, seed=2)
    layout = made.state.params
    placed = jax.tree.map(lambda x, like: jax.device_put(x, like.sharding), params, layout)
    [pairs] = DATA.batches(shape, REFERENCE)
    return made, placed, pairs


def steps(mesh: Mesh, most_rows: int = 0, count: int = 2) -> tuple[list[dict[str, float]], Params]:
    made, params, pairs = programs(mesh, most_rows)
    state, found = made.begin(params), []
    for _ in range(count):
        state, read = made.update(state, pairs, 3e-3)
        found.append(read())
    return found, jax.tree.map(np.asarray, state.params)


@pytest.fixture(scope="module")
def alone() -> tuple[list[dict[str, float]], Params]:
    return steps(toys.one_device(), count=30)


def test_metrics_are_means_over_pairs(alone):
    first = alone[0][0]
    params = toys.params(ONE_LAYER, seed=2)
    grads, expected = sums(ONE_LAYER, params, batch()[0])
    norm = np.sqrt(sum(np.square(x).sum() for x in jax.tree.leaves(grads))) / PAIRS
    assert first["gradient_norm"] == pytest.approx(norm, rel=1e-4)
    for name in ("loss", "reward_margin", "reward_accuracy"):
        assert first[name] == pytest.approx(float(expected[name]) / PAIRS, rel=1e-5)
    assert first["tokens"] == sum(len(one.tokens) for pair in TEXTS for one in pair)
    assert first["learning_rate"] == pytest.approx(3e-3)


def test_it_learns_to_prefer_the_chosen_texts(alone):
    metrics, _ = alone
    assert metrics[-1]["loss"] < 0.3 * metrics[0]["loss"]
    assert metrics[0]["reward_accuracy"] < metrics[-1]["reward_accuracy"] == 1


def test_micro_batches_change_nothing(alone):
    metrics, _ = steps(toys.one_device(), most_rows=2)
    close(metrics, alone[0][:2])


@toys.eight_devices
def test_the_mesh_changes_nothing(alone):
    metrics, _ = steps(sharding.make_mesh(2, 2, 2))
    close(metrics, alone[0][:2], rtol=1e-3)
