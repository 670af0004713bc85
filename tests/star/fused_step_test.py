"""The fused step against its parts done by hand, and on every mesh against one device.

By hand: numpy in float64, one row at a time, graded by the host's rule.
"""

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np
import optax
import pytest

import reference
import toys
from star_jax.data.packing import Example, example
from star_jax.data.prompts import rehearsed_indices
from star_jax.grading import device
from star_jax.inference.buckets import Bucket
from star_jax.inference.programs import SamplingPrograms
from star_jax.inference.scheduler import left_padded
from star_jax.inference.spec import SamplingSpec
from star_jax.inference.stop_rule import make_stop_rule
from star_jax.models.config import for_mesh
from star_jax.models.params import Params
from star_jax.models.prefix_tokens import PrefixTokens
from star_jax.runtime import sharding
from star_jax.runtime.compile import Compiler
from star_jax.star.fused_programs import FusedPrograms, FusedSpec
from star_jax.star.fused_step import PaddedRows, Rehearsed, StarBatch, StarMetrics
from star_jax.tasks.jsonl import Jsonl
from star_jax.training import state
from star_jax.training.spec import UpdateSpec, padded_rows
from star_jax.training.state import StarState
from toys import ONE_LAYER, eight_devices

# A vocabulary in which anything is nearly a number: random models answer, and answer in time.
PIECES = [b"", b"", b"", *(b"%d" % i for i in range(10)), b"12", b" ", b"-", b".", b",", b"\n\n"]
PIECES += [b".\n\n4", b"\n", "é".encode()[:1], "é".encode()[1:]]
BEGIN, END, STOP = 1, 2, "\n\n"
TASK = Jsonl("unused", rule="number", pattern=".")  # a completion ends with the line of a point
MICRO_BATCH = 2
SHAPE = Bucket(max_new_tokens=12, prompt_length=7, rows=8)
SEEDS = (2, 3, 10, 14, 21, 27)  # with which some rows are right at once, some with the hint
FEW_SHOT = ([5, 9, 13, 3, 20], [5, 9, 13, 7, 3, 20])

# Llama's shape, its keys in fewer heads than there are devices to split them over.
GROUPED = replace(
    ONE_LAYER, width=32, heads=8, kv_heads=2, head_dim=4, parallel=False, shared_norm=False,
    norm="rms", activation="silu", gated=True, mlp_bias=False, head_bias=False, tied=True,
    rotary_pairs="halves",
)  # fmt: skip
WIDE = replace(ONE_LAYER, width=32, heads=8, head_dim=4)


@dataclasses.dataclass(frozen=True)
class Made:
    """Programs that are compiled."""

    sampling: SamplingPrograms
    fused: FusedPrograms


@functools.cache
def made(
    config: Any,
    devices: tuple[int, int, int],
    refresh: int = 0,
    shown: bool = False,
    rehearsal: float = 0.0,
) -> Made:
    """The fused step with plain gradient descent: what it adds to the weights is the gradient."""
    rows = SHAPE.rows + len(rehearsed_indices(SHAPE.rows - 1, rehearsal))
    rows = padded_rows(rows, devices[0] * devices[1], MICRO_BATCH)
    grid = sharding.make_mesh(*devices, devices=jax.devices()[: int(np.prod(devices))])
    rule = TASK.byte_rule()
    assert rule is not None
    config, compiler = for_mesh(config, grid), Compiler()
    stop = make_stop_rule([END], STOP, PIECES, config.vocab)
    sampling_spec = SamplingSpec([], stop, toys.GREEDY, prefix_length=8 if shown else 0)
    sampling = SamplingPrograms(compiler, config, grid, sampling_spec)
    update = UpdateSpec(optax.identity(), rows, 20, MICRO_BATCH)
    again = rows - SHAPE.rows
    spec = FusedSpec(SHAPE, 16, rule, END, rehearsed_rows=again, refresh_every=refresh)
    programs = FusedPrograms(compiler, sampling, update, spec, train_on_few_shot=shown)
    compiler.finish()
    return Made(sampling, programs)


@dataclasses.dataclass
class Questions:
    """A batch of seven questions and a row that only fills it.

    They are trained on otherwise than they are asked: after a token of their own.
    """

    plain: list[list[int]]
    hinted: list[list[int]]
    gold: list[str]

    def batch(
        self,
        few_shot: list[PrefixTokens] | None = None,
        rate: float = 1.0,
        rehearse: tuple[Sequence[int], int] = ((), 0),
    ) -> StarBatch:
        """Some may be trained on with their hint too, in so many rows."""
        again, rows = rehearse
        gold, length = device.gold([*self.gold, ""], 16)
        return StarBatch(
            question=padded(self.plain),
            hinted=padded(self.hinted),
            trained=padded(self.trained),
            rehearsed=Rehearsed(
                padded([self.hinted[place] for place in again], rows),
                np.array([*again, *[0] * (rows - len(again))], np.int32),
            )
            if rows
            else None,
            number=np.arange(SHAPE.rows, dtype=np.int32),
            gold=gold,
            gold_length=length,
            few_shot=few_shot[0] if few_shot else None,
            few_shot_hinted=few_shot[1] if few_shot else None,
            seed=np.array([0, 1], np.uint32),
            learning_rate=np.float32(rate),
        )

    @property
    def trained(self) -> list[list[int]]:
        return [[BEGIN, *row] for row in self.plain]


def padded(rows: list[list[int]], count: int = SHAPE.rows) -> PaddedRows:
    return PaddedRows(*left_padded(rows, replace(SHAPE, rows=count)))


class ByHand:
    """What one model does with `Questions`, row by row."""

    def __init__(
        self,
        seed: int,
        before: tuple[list[int], list[int]] = ([], []),
        rehearsal: float = 0.0,
    ) -> None:
        draws = np.random.default_rng(seed)
        self.params, self.before = toys.params(ONE_LAYER, seed), before
        self.again = rehearsed_indices(SHAPE.rows - 1, rehearsal)
        self.weights = reference.weights(self.params)
        draw = functools.partial(draws.integers, 3, len(PIECES))
        plain = [
            draw(draws.integers(1, SHAPE.prompt_length)).tolist() for _ in range(SHAPE.rows - 1)
        ]
        hinted = [[*row, int(draw())] for row in plain]
        self.written = [self.write([*before[0], *row]) for row in plain]
        self.hinted = [self.write([*before[1], *row]) for row in hinted]
        # Rows in turn: right at once, right with the hint, never right; where there is an answer.
        gold = ["77"] * len(plain)
        for place, tries in enumerate(zip(self.written, self.hinted, strict=True)):
            answers = [self.answer(one) or "" for one in tries]
            if place % 3 < 2:
                gold[place] = answers[place % 3] or answers[1 - place % 3] or "77"
            elif not self.written[place][1]:  # it says so, but the budget ended it
                gold[place] = TASK.answer(self.text(self.written[place][0])) or "77"
        self.questions = Questions(plain, hinted, gold)
        self.first = [self.right(w, g) for w, g in zip(self.written, gold, strict=True)]
        self.second = [
            not first and self.right(w, g)
            for first, w, g in zip(self.first, self.hinted, gold, strict=True)
        ]

    def write(self, prompt: list[int]) -> tuple[list[int], bool]:
        count = len(PIECES)
        tokens = reference.greedy(ONE_LAYER, self.weights, prompt, SHAPE.max_new_tokens, END, count)
        return reference.stopped(PIECES, tokens, END, STOP.encode(), SHAPE.max_new_tokens)

    @staticmethod
    def whole(tokens: list[int]) -> str:
        whole = b"".join(PIECES[token] for token in tokens).decode(errors="replace")
        return whole.partition(STOP)[0].rstrip()

    @classmethod
    def text(cls, tokens: list[int]) -> str:
        return TASK.ending().cut(cls.whole(tokens))

    def answer(self, written: tuple[list[int], bool]) -> str | None:
        tokens, finished = written
        text = self.text(tokens)
        return TASK.answer(text) if finished or text != self.whole(tokens) else None

    def right(self, written: tuple[list[int], bool], gold: str) -> bool:
        return self.answer(written) == gold

    def examples(self) -> list[Example]:
        """What is trained on: the question without hint or with it, then what was right of it."""
        asked = list(enumerate(self.questions.trained))
        asked += [(place, self.questions.hinted[place]) for place in self.again]
        return [
            example([*self.before[0], *question], [*self.rationale(place), END])
            for place, question in asked
            if self.first[place] or self.second[place]
        ]

    def rationale(self, place: int) -> list[int]:
        """Tokens that begin before the end of the text."""
        tokens, _ = (self.written if self.first[place] else self.hinted)[place]
        raw = b"".join(PIECES[token] for token in tokens).partition(STOP.encode())[0]
        size, kept = len(raw.rstrip()), []
        while size and raw[:size].decode(errors="replace") != self.text(tokens):
            size -= 1
        while len(kept) < len(tokens) and bytes_of(kept) < size:
            kept.append(tokens[len(kept)])
        return kept

    def loss(self, weights: Any = None) -> float:
        """Nats a token."""
        examples = self.examples()
        sums = [
            reference.loss(ONE_LAYER, weights or self.weights, e.tokens.tolist(), list(e.weights))
            for e in examples
        ]
        return sum(loss for loss, _ in sums) / sum(e.weights.sum() for e in examples)


def bytes_of(tokens: list[int]) -> int:
    return sum(len(PIECES[token]) for token in tokens)


def begin(programs: Made, params: Params) -> StarState:
    layout = jax.tree.map(lambda x: x.sharding, programs.fused.state.params)
    one, other = (jax.device_put(jax.tree.map(np.array, params), layout) for _ in range(2))
    return programs.fused.begin(one, other if programs.fused.has_policy else None)


def step(
    programs: Made,
    params: Params,
    questions: Questions,
    shown: bool = False,
    again: Sequence[int] = (),
) -> tuple[StarState, StarMetrics]:
    before = [programs.sampling.prefix_tokens(tokens) for tokens in FEW_SHOT] if shown else None
    batch = questions.batch(before, rehearse=(again, programs.fused.spec.rehearsed_rows))
    return programs.fused.step(begin(programs, params), batch)


@pytest.mark.parametrize(
    ("shown", "rehearsal"),
    [(False, 0.0), (True, 0.0), (False, 0.5)],
    ids=["alone", "after a few-shot prompt", "rehearsed"],
)
@pytest.mark.parametrize("seed", SEEDS)
def test_it_is_its_parts_done_by_hand(seed: int, shown: bool, rehearsal: float):
    hand = ByHand(seed, FEW_SHOT if shown else ([], []), rehearsal)
    programs = made(ONE_LAYER, (1, 1, 1), 0, shown, rehearsal)
    after, metrics = step(programs, hand.params, hand.questions, shown, hand.again)
    for attempt, wanted in ((metrics.first, hand.written), (metrics.second, hand.hinted)):
        asked = [not first or attempt is metrics.first for first in hand.first]
        for place in np.flatnonzero(asked):
            length = attempt.generated.length[place]
            assert attempt.generated.tokens[place, :length].tolist() == wanted[place][0]
            assert attempt.generated.finished[place] == wanted[place][1]
    assert metrics.first.correct.tolist() == [*hand.first, False]
    assert metrics.second.correct.tolist() == [*hand.second, False]
    accepted = [a or b for a, b in zip(hand.first, hand.second, strict=True)]
    assert metrics.accepted.tolist() == [*accepted, False]
    assert any(hand.first) and any(hand.second) and not all(accepted)
    assert metrics.update["loss"] == pytest.approx(hand.loss(), rel=1e-5)
    assert after.step == 1
    # The gradient, along random directions: what it predicts is what the loss does in float64.
    gradient = jax.tree.map(lambda a, b: np.asarray(a - b, np.float64), hand.params, after.params)
    slopes = reference.weights(gradient)
    draws = np.random.default_rng(seed)
    for _ in range(4):
        way = {name: draws.normal(size=x.shape) for name, x in hand.weights.items()}
        ahead, behind = (
            hand.loss({name: x + sign * 1e-5 * way[name] for name, x in hand.weights.items()})
            for sign in (1, -1)
        )
        slope = sum(float(np.sum(slopes[name] * way[name])) for name in way)
        scale = np.sqrt(sum(float(np.sum(x**2)) for x in slopes.values()))
        assert slope == pytest.approx((ahead - behind) / 2e-5, abs=1e-4 * scale)


@pytest.mark.parametrize("shown", [False, True], ids=["alone", "after a few-shot prompt"])
def test_what_the_budget_ended_is_never_right(shown: bool):
    hand = ByHand(2, FEW_SHOT if shown else ([], []))
    said = [TASK.answer(ByHand.text(tokens)) for tokens, _ in hand.written]
    ended = [finished for _, finished in hand.written]
    cut = [
        place
        for place, gold in enumerate(hand.questions.gold)
        if not ended[place] and said[place] == gold
    ]
    assert cut
    _, metrics = step(made(ONE_LAYER, (1, 1, 1), 0, shown), hand.params, hand.questions, shown)
    assert not metrics.first.correct[cut].any()


@eight_devices
@pytest.mark.parametrize("config", [WIDE, GROUPED], ids=["GPT-J", "grouped"])
@pytest.mark.parametrize(
    ("devices", "rehearsal"),
    [((8, 1, 1), 0.5), ((1, 8, 1), 0.0), ((1, 1, 8), 0.5), ((2, 2, 2), 0.0), ((2, 2, 2), 0.5)],
    ids=str,
)
def test_every_mesh_does_what_one_device_does(
    config: Any, devices: tuple[int, int, int], rehearsal: float
):
    params, questions = toys.params(config, 0), answered(config)
    again = rehearsed_indices(len(questions.plain), rehearsal)
    (one, alone), (many, metrics) = (
        step(made(config, grid, rehearsal=rehearsal), params, questions, again=again)
        for grid in ((1, 1, 1), devices)
    )
    assert metrics.accepted[again].any() == bool(again)
    assert metrics.first.correct.any() and metrics.second.correct.any()
    assert metrics.accepted.sum() < len(questions.plain)
    exact = (lambda m: (m.first, m.second, m.accepted))(alone)
    jax.tree.map(
        np.testing.assert_array_equal, exact, (metrics.first, metrics.second, metrics.accepted)
    )
    for name, value in alone.update.items():
        assert metrics.update[name] == pytest.approx(value, rel=1e-4), name
    before = reference.weights(params)
    ours, theirs = reference.weights(many.params), reference.weights(one.params)
    for name, x in theirs.items():
        moved = np.linalg.norm(x - before[name])
        assert np.linalg.norm(ours[name] - x) <= 1e-4 * moved + 1e-6, name


@functools.cache
def answered(config: Any) -> Questions:
    """Questions of which some come out right: their answers are what the model was seen to give."""
    draws = np.random.default_rng(5)
    plain = [draws.integers(3, len(PIECES), size).tolist() for size in (3, 6, 1, 5, 4, 2, 6)]
    asked = Questions(plain, [[*row, 7] for row in plain], ["77"] * 7)
    _, seen = step(made(config, (1, 1, 1)), toys.params(config, 0), asked)
    for attempt, places in ((seen.first, (0, 1, 3)), (seen.second, (5, 6))):
        for place in places:
            written = attempt.generated.tokens[place, : attempt.generated.length[place]]
            asked.gold[place] = TASK.answer(ByHand.text(written.tolist())) or "77"
    return asked


class TestPolicy:
    def wrong(self) -> Questions:
        hand = ByHand(0)
        return replace(hand.questions, gold=["31415"] * 7)

    def test_a_step_that_accepts_nothing_changes_nothing(self):
        params = toys.params(ONE_LAYER, 0)
        after, metrics = step(made(ONE_LAYER, (1, 1, 1)), params, self.wrong())
        assert not metrics.accepted.any() and after.step == 0
        jax.tree.map(np.testing.assert_array_equal, after.params, params)
        assert all(value == 0 for value in metrics.update.values())

    def sampled_by(self, refresh: int, steps: int) -> list[np.ndarray]:
        """What is written for one batch again and again, while the learner learns from it."""
        hand, programs = ByHand(2), made(ONE_LAYER, (1, 1, 1), refresh)
        learner = begin(programs, hand.params)
        found = []
        for _ in range(steps):
            learner, metrics = programs.fused.step(learner, hand.questions.batch(rate=5.0))
            found.append(metrics.first.generated.tokens)
        return found

    def test_it_is_frozen_or_refreshed_every_so_many_updates(self):
        frozen, every, second = (self.sampled_by(refresh, 3) for refresh in (0, 1, 2))
        assert (frozen[0] == frozen[1]).all() and (frozen[0] == frozen[2]).all()
        assert (every[0] == frozen[0]).all() and (every[1] != every[0]).any()
        assert (second[1] == second[0]).all() and (second[2] != second[1]).any()

    def test_a_policy_of_its_own_is_kept_as_it_is_computed_with(self):
        config = toys.replace(ONE_LAYER, dtype="bfloat16")
        one = toys.one_device()
        abstract = state.abstract_state(config, one, optax.identity(), policy=True)
        kept = {x.ndim > 1: x.dtype.name for x in jax.tree.leaves(abstract.policy)}
        assert kept == {True: "bfloat16", False: "float32"}
        assert state.abstract_state(config, one, optax.identity()).policy is None
