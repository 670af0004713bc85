"""The fused step: decode, grade, rationalize, filter, learn. One pure program on any mesh.

    generate      the policy writes a rationale and an answer for every question of a batch
    grade         on the device, by the bytes it wrote
    rationalize   where it failed, it is given the answer as a hint and tries again
    filter        what ends in the right answer counts; the rest has no weight in the loss
    learn         one update on question + rationale, as if there had been no hint

With the policy frozen and the learner begun from the base weights, a pass over the data is a round
of Algorithm 1 (Zelikman et al., 2022) with one update a batch. With the policy refreshed it is
online self-training.

Shapes: B questions, P prompt places, N max_new_tokens, S few-shot tokens, A answer bytes.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from star_jax.grading import device
from star_jax.inference.decode import Generated, Prompts, decode
from star_jax.inference.sampling import SamplingParams
from star_jax.inference.stop_rule import StopRule
from star_jax.models import kv_cache
from star_jax.models.params import as_policy
from star_jax.models.prefix_tokens import PrefixTokens
from star_jax.models.transformer import ANY_LAYOUT, Decoder, Layout
from star_jax.star import phase
from star_jax.star.phase import Phase
from star_jax.tasks.answer_rule import AnswerRule
from star_jax.training import step
from star_jax.training.state import StarState

Array = Any  # jax.Array; on its way to the devices numpy's


@dataclasses.dataclass(frozen=True)
class StarConfig:
    """What is static of a step.

    Attributes:
        graph: of the decoder; weights and it make a `Decoder`.
        update: `train.update` with what is static of it.
        max_new_tokens: N.
        stop, selection: how sampling ends and draws.
        rule: how an answer is found in what was written.
        eos: token that ends a document to train on.
        dtype: of the computation, which the policy's matrices are kept in.
        refresh_every: updates until the policy takes the learner's weights; 0: never. With 1 they
            are the same arrays, and the state has no policy of its own.
        show: whether the update is on few-shot prompt + question + rationale.
        apart, layout: of sampling, see `decode`.
        block: the length of what is trained on is a multiple of it.
    """

    graph: nnx.GraphDef
    update: Callable[..., tuple[StarState, dict[str, jax.Array]]]
    max_new_tokens: int
    stop: StopRule
    selection: SamplingParams
    rule: AnswerRule
    eos: int
    dtype: str = "float32"
    refresh_every: int = 0
    train_on_few_shot: bool = False
    unstacked: bool = False
    layout: Layout = ANY_LAYOUT
    length_multiple: int = 1


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PaddedRows:
    """Rows of tokens, padded on the left.

    Attributes:
        tokens: [B, P] int32.
        start: [B] int32, the first real place of a row; P marks an empty row.
    """

    tokens: Array
    start: Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Rehearsed:
    """Questions that are trained on with their hint as well; R rows.

    Attributes:
        question: with its hint, as trained on; empty rows fill up what an update takes.
        of: [R] int32, its row in the batch.
    """

    question: PaddedRows
    of: Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class StarBatch:
    """The questions of one step. Rows that only fill the batch are empty in all of its parts.

    Attributes:
        question: as sampled, after the shared few-shot prompt.
        hinted: the same with the answer as a hint.
        trained: as trained on: what `question` is where no few-shot prompt is shown.
        rehearsed: a share of them to train on again; None without any.
        number: [B] int32, of the question in its round; its draws follow from it.
        gold, gold_length: [B, A] uint8 and [B] int32, the canonical answers as bytes.
        few_shot, few_shot_hinted: the worked examples, shared by all rows; None without any.
        seed: [2] uint32, the run's seed and the round.
        learning_rate: [] float32, of the update.
    """

    question: PaddedRows
    hinted: PaddedRows
    trained: PaddedRows
    rehearsed: Rehearsed | None
    number: Array
    gold: Array
    gold_length: Array
    few_shot: PrefixTokens | None
    few_shot_hinted: PrefixTokens | None
    seed: Array
    learning_rate: Array

    def parts(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """What has a row for every question, and what has not; few-shot prompts are in neither."""
        found = dict(vars(self))
        whole = {name: found.pop(name) for name in ("seed", "learning_rate")}
        return {k: x for k, x in found.items() if not k.startswith("few_shot")}, whole


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Attempt:
    """What the policy wrote for a batch, and whether it is right.

    Attributes:
        generated: tokens and whether the row ended by itself.
        kept: [B] int32, how many of the tokens begin before the end of the completion: before the
            stop text, or what follows the answer, and the white space around it.
        correct: [B] bool; a completion that the max_new_tokens ended is never right.
    """

    generated: Generated
    kept: jax.Array
    correct: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class StarMetrics:
    """What came of a step.

    Attributes:
        first: the attempt without hint.
        second: that with it; rows whose first attempt is right are empty.
        accepted: [B] bool, the rows trained on.
        update: scalars of the update, as `train.update` has them; zeros where nothing was accepted.
    """

    first: Attempt
    second: Attempt
    accepted: jax.Array
    update: dict[str, jax.Array]


def star_step(
    config: StarConfig, state: StarState, batch: StarBatch
) -> tuple[StarState, StarMetrics]:
    """One step on B questions; pure. Where nothing is accepted, the learner stays as it is.

    Args:
        config: what is static of it.
        state: the learner, and the policy where that is another.
        batch: the questions.
    """
    policy = nnx.merge(config.graph, state.params if state.policy is None else state.policy)
    first = _attempt(config, policy, batch, batch.question, batch.few_shot, phase.GENERATE)
    places = batch.hinted.tokens.shape[1]
    left = dataclasses.replace(
        batch.hinted, start=jnp.where(first.correct, places, batch.hinted.start)
    )
    second = _attempt(config, policy, batch, left, batch.few_shot_hinted, phase.RATIONALIZE)
    accepted = first.correct | second.correct
    rows = _rows(config, batch, first, second, accepted)

    def learn(state: StarState) -> tuple[StarState, dict[str, jax.Array]]:
        shown = batch.few_shot if config.train_on_few_shot else None
        return config.update(state, rows, batch.learning_rate, shown)

    def rest(state: StarState) -> tuple[StarState, dict[str, jax.Array]]:
        _, metrics = jax.eval_shape(learn, state)
        return state, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), metrics)

    state, metrics = jax.lax.cond(jnp.any(accepted), learn, rest, state)
    return _refreshed(config, state), StarMetrics(first, second, accepted, metrics)


def training_rows(
    eos: int,
    question: PaddedRows,
    written: jax.Array,
    count: jax.Array,
    accepted: jax.Array,
    length_multiple: int = 1,
) -> step.Batch:
    """Question + rationale + end-of-text, for every row that is accepted; [B, T].

    Of what was `written`, [B, N], the first `count` tokens are taken. Other rows have no token in
    any segment, and no weight. T is P + N + 1, or the next multiple of `block`.
    """
    rows, places = question.tokens.shape
    room = 1 + -(places + written.shape[1] + 1) % length_multiple
    tokens = jnp.concatenate((question.tokens, written, jnp.zeros((rows, room), jnp.int32)), axis=1)
    place = jnp.arange(tokens.shape[1])
    end = (places + count)[:, None]
    tokens = jnp.where(place == end, eos, tokens)
    real = (place >= question.start[:, None]) & (place <= end) & accepted[:, None]
    return step.Batch(
        tokens=jnp.where(real, tokens, 0),
        segments=real.astype(jnp.int32),
        positions=jnp.where(real, place - question.start[:, None], 0),
        weights=(real & (place >= places)).astype(jnp.float32),
    )


def _rows(
    config: StarConfig, batch: StarBatch, first: Attempt, second: Attempt, accepted: jax.Array
) -> step.Batch:
    """All that is trained on: every question without its hint, then some of them with it too."""

    def choose(x: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.where(first.correct.reshape(-1, *[1] * (x.ndim - 1)), x, y)

    written = choose(first.generated.tokens, second.generated.tokens)
    count = choose(first.kept, second.kept)
    make = functools.partial(training_rows, config.eos, length_multiple=config.length_multiple)
    rows = make(batch.trained, written, count, accepted)
    if batch.rehearsed is None:
        return rows
    hinted, of = batch.rehearsed.question, batch.rehearsed.of
    real = hinted.start < hinted.tokens.shape[1]
    again = make(hinted, written[of], count[of], accepted[of] & real)
    return jax.tree.map(lambda x, y: jnp.concatenate((x, y)), rows, again)


def _attempt(
    config: StarConfig,
    policy: Decoder,
    batch: StarBatch,
    rows: PaddedRows,
    few_shot: PrefixTokens | None,
    phase_: Phase,
) -> Attempt:
    prefix = kv_cache.make_prefix(policy, few_shot.tokens, few_shot.length) if few_shot else None
    seed = jnp.append(batch.seed, jnp.uint32(phase_.stream))
    generated = decode(
        policy,
        Prompts(rows.tokens, rows.start, batch.number, seed),
        prefix,
        max_new_tokens=config.max_new_tokens,
        stop=config.stop,
        selection=config.selection,
        unstacked=config.unstacked,
        layout=config.layout,
    )
    found = device.grade(
        config.rule,
        config.stop.token_bytes,
        config.stop.text,
        generated.tokens,
        generated.length,
        batch.gold,
        batch.gold_length,
    )
    real = rows.start < rows.tokens.shape[1]
    ended = generated.finished | found.ended
    return Attempt(generated, found.kept, found.right & ended & real)


def _refreshed(config: StarConfig, state: StarState) -> StarState:
    """The state with the learner's weights as its policy, if that is due."""
    if state.policy is None or not config.refresh_every:
        return state
    policy = jax.lax.cond(
        (state.step > 0) & (state.step % config.refresh_every == 0),
        lambda: as_policy(state.params, config.dtype),
        lambda: state.policy,
    )
    return dataclasses.replace(state, policy=policy)
