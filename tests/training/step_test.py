import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import reference
import toys
from star_jax.data import packing
from star_jax.data.packing import Example, Packed
from star_jax.data.tokenizer import ByteTokenizer
from star_jax.models import loss as loss_lib
from star_jax.models import prefix_tokens
from star_jax.models.config import ModelConfig
from star_jax.models.params import Params
from star_jax.training import state
from star_jax.training import step as step_lib
from star_jax.training.state import StarState
from toys import BYTES, ONE_LAYER

DOCUMENTS = toys.documents([9, 5, 4, 12, 1, 7, 16, 3, 2, 11, 14, 6], ONE_LAYER.vocab)
ROWS = len(DOCUMENTS)
SHOWN = [3, 28, 6, 14, 9]  # in place of a few-shot prompt
CPU = toys.replace(ONE_LAYER, on_cpu=True)  # the same by other operations


def filled(packed: Packed) -> Packed:
    """As a batch of `ROWS` rows: what is missing is padding."""
    missing = ((0, ROWS - len(packed)), (0, 0))
    return toys.batch(Packed(*(np.pad(x, missing) for x in vars(packed).values())))


PACKED = filled(packing.pack(DOCUMENTS, 16))
LEARNER = state.init_state(toys.params(ONE_LAYER, seed=2), toys.optimizer())


@functools.partial(jax.jit, static_argnums=(0, 3))
@functools.partial(jax.value_and_grad, argnums=1, has_aux=True)
def loss_and_gradients(
    config: ModelConfig,
    params: Params,
    batch: Packed,
    remat: bool = False,
    few_shot: prefix_tokens.PrefixTokens | None = None,
) -> Any:
    return step_lib.token_loss(nnx.merge(toys.graph(config), params), batch, few_shot, remat=remat)


def document_loss(
    weights: reference.Weights, one: Example, before: list[int]
) -> tuple[float, float]:
    """That of one document where it comes after other tokens."""
    tokens, weight = [*before, *one.tokens.tolist()], [*[0.0] * len(before), *one.weights.tolist()]
    return reference.loss(ONE_LAYER, weights, tokens, weight)


@functools.partial(jax.jit, static_argnums=0)
def update(accumulation: int, learner: StarState, batch: Packed) -> Any:
    graph = toys.graph(ONE_LAYER)
    return step_lib.update(graph, toys.optimizer(), accumulation, learner, batch, jnp.float32(1e-2))


def unpacked() -> Packed:
    """Every document in a row of its own."""
    rows = [vars(packing.pack([document], 16)) for document in DOCUMENTS]
    return toys.batch(Packed(*(np.concatenate([row[name] for row in rows]) for name in rows[0])))


def few_shot(before: list[int]) -> prefix_tokens.PrefixTokens | None:
    """Padded, as it is in a run; None where there is nothing."""
    tokens = np.zeros(8, np.int32)
    tokens[: len(before)] = before
    return (
        prefix_tokens.PrefixTokens(jnp.asarray(tokens), jnp.int32(len(before))) if before else None
    )


def close(found: Any, expected: Any, rtol: float = 1e-4, atol: float = 1e-5) -> None:
    compare = functools.partial(np.testing.assert_allclose, rtol=rtol, atol=atol)
    jax.tree.map(compare, found, expected)


@pytest.mark.parametrize("config", [ONE_LAYER, CPU], ids=["anywhere", "cpu"])
class TestLoss:
    @pytest.mark.parametrize("packed", [PACKED, unpacked()], ids=["packed", "unpacked"])
    @pytest.mark.parametrize("remat", [False, True])
    @pytest.mark.parametrize("before", [[], SHOWN], ids=["alone", "after a few-shot prompt"])
    def test_is_that_of_the_documents_one_by_one(
        self, config: ModelConfig, packed: Packed, remat: bool, before: list[int]
    ):
        params = LEARNER.params
        plain = reference.weights(params)
        each = [document_loss(plain, one, before) for one in DOCUMENTS]
        (loss, right), _ = loss_and_gradients(config, params, packed, remat, few_shot(before))
        assert float(loss) == pytest.approx(sum(one for one, _ in each), rel=1e-5)
        assert right == sum(right for _, right in each) > 0

    def test_packed_and_unpacked_have_the_same_gradients(self, config: ModelConfig):
        assert PACKED.segments.max() > 2 and not PACKED.segments[-1].any()
        params = LEARNER.params
        results = [loss_and_gradients(config, params, p) for p in (PACKED, unpacked())]
        assert min(np.abs(x).max() for x in jax.tree.leaves(results[0][1])) > 1e-3
        close(results[0], results[1], atol=1e-4)

    @pytest.mark.parametrize("remat", [False, True])
    @pytest.mark.parametrize("before", [[], SHOWN], ids=["alone", "after a few-shot prompt"])
    def test_gradients_are_the_slope_of_the_formula(
        self, config: ModelConfig, remat: bool, before: list[int]
    ):
        params = LEARNER.params
        _, gradients = loss_and_gradients(config, params, PACKED, remat, few_shot(before))
        plain, slopes = reference.weights(params), reference.weights(gradients)
        draws = np.random.default_rng(1)
        for name in plain:
            direction = draws.normal(size=plain[name].shape)

            def loss(step: float, name: str = name, direction: np.ndarray = direction) -> float:
                moved = plain | {name: plain[name] + step * direction}
                return sum(document_loss(moved, one, before)[0] for one in DOCUMENTS)

            expected = (loss(1e-5) - loss(-1e-5)) / 2e-5
            assert (slopes[name] * direction).sum() == pytest.approx(expected, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("config", [toys.SMALL, toys.EVERYTHING], ids=["gpt_j", "everything"])
def test_what_is_computed_again_has_the_same_gradients(config: ModelConfig, monkeypatch):
    monkeypatch.setattr(loss_lib, "CHUNK", 4)  # 15 predictions a row: four chunks
    jax.clear_caches()
    params = toys.params(config, seed=5)
    plain, again = (loss_and_gradients(config, params, PACKED, remat) for remat in (False, True))
    jax.clear_caches()
    close(plain, again)
    assert min(np.abs(x).max() for x in jax.tree.leaves(plain[1])) > 1e-4


def test_neither_logits_nor_scores_are_ever_there_whole():
    batch = jax.tree.map(lambda x: jnp.tile(x, (1, 128)), PACKED)  # rows of 2048 tokens
    for remat in (False, True):
        traced = jax.make_jaxpr(
            lambda params, remat=remat: loss_and_gradients(ONE_LAYER, params, batch, remat)
        )(LEARNER.params)
        assert f"f32[{ROWS},{loss_lib.CHUNK},{ONE_LAYER.vocab}]" in str(traced)
        assert "2047,259]" not in str(traced) and "2048,2048]" not in str(traced)


def test_covers_a_rationale_with_colons_whole_and_no_prompt():
    # the released code's mask starts after the last colon
    tokenizer, params = ByteTokenizer(), toys.params(BYTES)
    prompt, completion = "Input:\n6 + 2\nTarget:\n", "6 + 2 , 8 C: 0\n, 8 C: 0\n8"
    example = packing.encode(tokenizer, prompt, completion)
    batch = toys.batch(packing.pack([example], 64))
    graph = toys.graph(BYTES)
    loss, _ = jax.jit(lambda: step_lib.token_loss(nnx.merge(graph, params), batch))()
    probabilities = reference.softmax(
        reference.logits(BYTES, reference.weights(params), example.tokens.tolist())
    )
    learnt = [*tokenizer.encode(completion), tokenizer.eos_id]
    first = len(example.tokens) - len(learnt)
    expected = [-np.log(probabilities[first - 1 + n, token]) for n, token in enumerate(learnt)]
    assert float(loss) == pytest.approx(sum(expected), rel=1e-5)


class TestUpdate:
    @pytest.mark.parametrize("accumulation", [2, 4])
    def test_accumulation_changes_nothing(self, accumulation: int):
        (one, metrics), (other, others) = (update(n, LEARNER, PACKED) for n in (1, accumulation))
        close(metrics, others)
        close(one.opt_state, other.opt_state)
        close(one.params, other.params, atol=1e-4)  # Adam divides by gradients near 0

    def test_metrics_say_what_they_are(self):
        (loss, right), gradients = loss_and_gradients(ONE_LAYER, LEARNER.params, PACKED)
        weight = float(PACKED.weights[:, 1:].sum())
        _, metrics = update(1, LEARNER, PACKED)
        assert float(metrics["loss"]) == pytest.approx(float(loss) / weight, rel=1e-5)
        assert float(metrics["token_accuracy"]) == pytest.approx(float(right) / weight)
        norm = np.sqrt(sum(np.square(x).sum() for x in jax.tree.leaves(gradients))) / weight
        assert float(metrics["gradient_norm"]) == pytest.approx(norm, rel=1e-5)
        assert metrics["tokens"] == int((PACKED.segments > 0).sum())

    def test_is_the_optimizers_step_on_the_mean_gradient(self):
        _, gradients = loss_and_gradients(ONE_LAYER, LEARNER.params, PACKED)
        mean = jax.tree.map(lambda x: x / PACKED.weights[:, 1:].sum(), gradients)
        learner = LEARNER
        for step in range(2):
            learner = update(1, learner, PACKED)[0]
            assert learner.step == step + 1
        direction, moments = jax.jit(toys.optimizer().update)(
            mean, LEARNER.opt_state, LEARNER.params
        )
        first = update(1, LEARNER, PACKED)[0]
        close(first.opt_state, moments)
        close(first.params, jax.tree.map(lambda w, d: w - 1e-2 * d, LEARNER.params, direction))
        moved = jax.tree.map(lambda x, y: np.abs(x - y).max(), learner.params, LEARNER.params)
        assert min(jax.tree.leaves(moved)) > 1e-3

    def test_it_learns(self):
        learner, losses = LEARNER, []
        for _ in range(25):
            learner, metrics = update(1, learner, PACKED)
            losses.append(float(metrics["loss"]))
        assert losses[-1] < 0.7 * losses[0]

    def test_a_batch_without_weight_changes_no_weight(self):
        nothing = dataclasses.replace(PACKED, weights=jnp.zeros_like(PACKED.weights))
        learner, metrics = update(1, dataclasses.replace(LEARNER), nothing)
        close(learner.params, LEARNER.params, 0, 0)
        assert metrics["loss"] == metrics["gradient_norm"] == 0
