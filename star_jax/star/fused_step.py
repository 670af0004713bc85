"""The fused step: decode, grade, rationalize, filter, learn. One pure program on any mesh.

    generate      the policy samples a rationale and an answer for every question of a batch
    grade         the device compares each completion's answer with the gold answer
    rationalize   failed questions are sampled again, with the answer as a hint
    filter        wrong completions get no weight in the loss
    learn         one update on question + rationale, as if there had been no hint

With a frozen policy and a learner that starts from the base weights, a pass over the data is a
round of Algorithm 1 (Zelikman et al., 2022) with one update per batch. With a refreshed policy it
is online self-training.

Shapes: B questions, P prompt_length, N max_new_tokens, S few-shot tokens, A answer bytes,
R rehearsed rows, T length of a training row.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from star_jax.data.packing import Packed
from star_jax.grading import device
from star_jax.inference.decode import Generated, PaddedRows, Prompts, decode
from star_jax.inference.sampling import SamplingParams
from star_jax.inference.stop_rule import StopRule
from star_jax.models import kv_cache
from star_jax.models.params import as_policy
from star_jax.models.prefix_tokens import PrefixTokens
from star_jax.models.transformer import ANY_LAYOUT, Decoder, Layout
from star_jax.star import phase
from star_jax.star.phase import Phase
from star_jax.tasks.answer_rule import AnswerRule
from star_jax.training.state import StarState

Array = Any  # jax.Array; a numpy array before it is put on the devices


@dataclasses.dataclass(frozen=True)
class StarConfig:
    """The static parameters of a step.

    Attributes:
        graph: graph of the decoder; weights and it make a `Decoder`.
        update: `step.update` with its static arguments.
        max_new_tokens: most new tokens of a row, N.
        stop, selection: rule for the end of rows, and parameters of the draws.
        rule: rule by which an answer is found in a completion.
        eos: id of the token that ends a training document.
        dtype: numeric type of the computation and of the policy's matrices.
        refresh_every: updates until the policy takes the learner's weights; 0: never. With 1 they
            are the same arrays, and the state has no separate policy.
        train_on_few_shot: True if the update is on few-shot prompt + question + rationale.
        unstacked, layout: layouts of sampling, as in `decode`.
        length_multiple: number that divides the length of training rows, T.
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
class Rehearsed:
    """Questions that are trained on with their hint as well; R rows.

    Attributes:
        question: prompts with the hint, as trained on; empty rows complete the update's shape.
        of: [R] int32, index of the question's row in the batch.
    """

    question: PaddedRows
    of: Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class StarBatch:
    """The questions of one step. Rows that only fill the batch are empty in all fields.

    Attributes:
        question: prompts to sample from, after the shared few-shot prompt.
        hinted: the same prompts with the answer as a hint.
        trained: prompts to train on: the same as `question` with `train_on_few_shot`, otherwise as
            `question` is without a few-shot prompt.
        rehearsed: share of the questions to train on again with their hint; None without any.
        number: [B] int32, number of the question in its round, which keys the row's draws.
        gold, gold_length: [B, A] uint8 and [B] int32, the canonical answers as bytes.
        few_shot, few_shot_hinted: few-shot prompts, shared by all rows; None without any.
        seed: [2] uint32, the run's seed and the round.
        learning_rate: [] float32, learning rate of the update.
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
        """Returns the fields with a row for every question, and the scalars; no few-shot prompt."""
        fields = dict(vars(self))
        scalars = {name: fields.pop(name) for name in ("seed", "learning_rate")}
        return {k: x for k, x in fields.items() if not k.startswith("few_shot")}, scalars


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Attempt:
    """The completions of a batch, and their grades.

    Attributes:
        generated: tokens of the rows, and whether a row ended by itself.
        length: [B] int32, number of tokens that begin before the end of the completion: before the
            stop text, or the text after the answer, and the white space around it.
        correct: [B] bool, True for right answers; a truncated completion is never right.
    """

    generated: Generated
    length: jax.Array
    correct: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class StarMetrics:
    """The results of a step.

    Attributes:
        first: the attempt without the hint.
        second: the attempt with the hint; rows whose first attempt is right are empty.
        accepted: [B] bool, the rows trained on.
        update: scalars of the update, as in `step.update`; zeros if no row was accepted.
    """

    first: Attempt
    second: Attempt
    accepted: jax.Array
    update: dict[str, jax.Array]


def star_step(
    config: StarConfig, state: StarState, batch: StarBatch
) -> tuple[StarState, StarMetrics]:
    """Runs one step on B questions; pure. If no row is accepted, the learner is unchanged.

    Args:
        config: static parameters of the step.
        state: state of the learner, with the policy if that has separate weights.
        batch: questions of the step.

    Returns:
        The new state, and the results of the step.
    """
    policy = nnx.merge(config.graph, state.params if state.policy is None else state.policy)
    first = _attempt(config, policy, batch, batch.question, batch.few_shot, phase.GENERATE)
    prompt_length = batch.hinted.tokens.shape[1]
    failed = dataclasses.replace(
        batch.hinted, start=jnp.where(first.correct, prompt_length, batch.hinted.start)
    )
    second = _attempt(config, policy, batch, failed, batch.few_shot_hinted, phase.RATIONALIZE)
    accepted = first.correct | second.correct
    rows = _rows(config, batch, first, second, accepted)

    def learn(state: StarState) -> tuple[StarState, dict[str, jax.Array]]:
        few_shot = batch.few_shot if config.train_on_few_shot else None
        return config.update(state, rows, batch.learning_rate, few_shot)

    def skip(state: StarState) -> tuple[StarState, dict[str, jax.Array]]:
        _, metrics = jax.eval_shape(learn, state)
        return state, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), metrics)

    state, metrics = jax.lax.cond(jnp.any(accepted), learn, skip, state)
    return _refresh_policy(config, state), StarMetrics(
        first=first, second=second, accepted=accepted, update=metrics
    )


def training_rows(
    eos: int,
    question: PaddedRows,
    written: jax.Array,
    count: jax.Array,
    accepted: jax.Array,
    length_multiple: int = 1,
) -> Packed:
    """Returns question + rationale + end-of-text for every accepted row, [B, T].

    Rows that are not accepted have no token in any segment, and no weight.

    Args:
        eos: id of the token that ends a row.
        question: [B, P] prompts.
        written: [B, N] int32, generated tokens.
        count: [B] int32, number of tokens of `written` that are trained on.
        accepted: [B] bool, rows to train on.
        length_multiple: T is the least multiple of it from P + N + 1 on.
    """
    rows, prompt_length = question.tokens.shape
    padding = 1 + -(prompt_length + written.shape[1] + 1) % length_multiple
    tokens = jnp.concatenate(
        (question.tokens, written, jnp.zeros((rows, padding), jnp.int32)), axis=1
    )
    column = jnp.arange(tokens.shape[1])
    end = (prompt_length + count)[:, None]
    tokens = jnp.where(column == end, eos, tokens)
    real = (column >= question.start[:, None]) & (column <= end) & accepted[:, None]
    return Packed(
        tokens=jnp.where(real, tokens, 0),
        segments=real.astype(jnp.int32),
        positions=jnp.where(real, column - question.start[:, None], 0),
        weights=(real & (column >= prompt_length)).astype(jnp.float32),
    )


def _rows(
    config: StarConfig, batch: StarBatch, first: Attempt, second: Attempt, accepted: jax.Array
) -> Packed:
    """Returns all training rows: every question without its hint, then some with it too."""

    def choose(x: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.where(first.correct.reshape(-1, *[1] * (x.ndim - 1)), x, y)

    written = choose(first.generated.tokens, second.generated.tokens)
    count = choose(first.length, second.length)
    make = functools.partial(training_rows, config.eos, length_multiple=config.length_multiple)
    rows = make(batch.trained, written, count, accepted)
    if batch.rehearsed is None:
        return rows
    hinted, of = batch.rehearsed.question, batch.rehearsed.of
    real = hinted.start < hinted.tokens.shape[1]
    rehearsed = make(hinted, written[of], count[of], accepted[of] & real)
    return jax.tree.map(lambda x, y: jnp.concatenate((x, y)), rows, rehearsed)


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
        Prompts(tokens=rows.tokens, start=rows.start, number=batch.number, seed=seed),
        prefix,
        max_new_tokens=config.max_new_tokens,
        stop=config.stop,
        selection=config.selection,
        unstacked=config.unstacked,
        layout=config.layout,
    )
    graded = device.grade(
        config.rule,
        config.stop.token_bytes,
        config.stop.text,
        generated.tokens,
        generated.length,
        batch.gold,
        batch.gold_length,
    )
    real = rows.start < rows.tokens.shape[1]
    ended = generated.finished | graded.ended
    return Attempt(generated, graded.length, graded.right & ended & real)


def _refresh_policy(config: StarConfig, state: StarState) -> StarState:
    """Copies the learner's weights to the policy if a refresh is due."""
    if state.policy is None or not config.refresh_every:
        return state
    policy = jax.lax.cond(
        (state.step > 0) & (state.step % config.refresh_every == 0),
        lambda: as_policy(state.params, config.dtype),
        lambda: state.policy,
    )
    return dataclasses.replace(state, policy=policy)
