"""The training loop on the host: it feeds batches, saves checkpoints, and can be resumed."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import jax
from etils import epath

from star_jax.data import packing
from star_jax.data.packing import Example
from star_jax.models.params import Params
from star_jax.storage.checkpoint import Checkpoints
from star_jax.training.optimizer import Schedule
from star_jax.training.programs import UpdatePrograms
from star_jax.training.state import StarState

B = TypeVar("B")
Read = Callable[[], dict[str, float]]  # waits for the metrics of an update
Update = Callable[[StarState, B, float], tuple[StarState, Read]]
# (step, metrics) -> None; called after every update
OnStep = Callable[[int, dict[str, float]], None]


@dataclasses.dataclass(frozen=True)
class TrainPlan:
    """One stretch of training.

    Attributes:
        examples: training examples.
        steps: number of updates.
        seed: random seed of the order of the sequences.
        schedule: learning-rate schedule.
        save_every: number of updates between two checkpoints.
        folder: folder of the checkpoints; the caller empties it once the result is saved.
        few_shot: token ids of the few-shot prompt that every example follows.
    """

    examples: Sequence[Example]
    steps: int
    seed: int
    schedule: Schedule
    save_every: int
    folder: epath.Path
    few_shot: Sequence[int] = ()


def train(
    programs: UpdatePrograms,
    start: Callable[[], Params],
    plan: TrainPlan,
    on_step: OnStep,
    on_resume: Callable[[int], None],
) -> Params:
    """Trains from the weights of `start` with a fresh optimizer, or resumes from a checkpoint.

    Args:
        programs: compiled programs of this kind of update.
        start: function that loads the initial weights; called if there is no checkpoint. The
            weights are donated.
        plan: examples, number of steps, schedule and checkpoints.
        on_step: function called with the number and the metrics of every step, one step late and
            before a checkpoint of the step is written; if it raises, none is written.
        on_resume: function called once, first, with the number of steps that are done already.

    Returns:
        The trained weights.

    Raises:
        ValueError: there are no examples, or one is longer than a sequence or holds a token
            without a row in the embedding.
    """
    model, spec = programs.config, programs.spec
    packing.check_ids((one.tokens for one in plan.examples), model.tokens)
    packed = packing.pack(plan.examples, spec.length)
    return fit(
        programs.state,
        lambda: programs.begin(start()),
        functools.partial(programs.update, few_shot=plan.few_shot),
        functools.partial(packing.batches, packed, spec.batch_size, plan.seed, plan.steps),
        steps=plan.steps,
        schedule=plan.schedule,
        save_every=plan.save_every,
        folder=plan.folder,
        on_step=on_step,
        on_resume=on_resume,
    )


def fit(
    abstract: StarState,
    begin: Callable[[], StarState],
    update: Update[B],
    batches: Callable[[int], Iterator[B]],
    *,
    steps: int,
    schedule: Schedule,
    save_every: int,
    folder: epath.Path,
    on_step: OnStep,
    on_resume: Callable[[int], None],
) -> Params:
    """Trains on batches of any kind, as `train` does on packed examples.

    Args:
        abstract: shapes, types and shardings of the learner's state.
        begin: function that makes the first state; called if there is no checkpoint.
        update: function that starts an update: (state, batch, learning rate) -> the new state, and
            a function that waits for the metrics.
        batches: function from the number of steps that are done to the batches of the others.
        steps: number of updates.
        schedule: learning-rate schedule.
        save_every: number of updates between two checkpoints.
        folder: folder of the checkpoints; the caller empties it once the result is saved.
        on_step: function called after every step, as in `train`.
        on_resume: function called once, as in `train`.

    Returns:
        The trained weights.
    """
    checkpoints = Checkpoints(folder, keep=1)
    if done := checkpoints.latest() or 0:
        state = checkpoints.restore(done, abstract)
    else:
        state = begin()
    on_resume(done)
    pending: list[tuple[int, Callable[[], dict[str, float]]]] = []

    def report() -> None:
        for step, read in pending:
            on_step(step, read())
        pending.clear()

    for step, batch in enumerate(batches(done), done + 1):
        state, read = update(state, batch, schedule(step - 1))
        report()  # reports the step before while this one runs; the next batch is made then too
        pending.append((step, read))
        if step % save_every == 0 and step < steps:
            report()
            checkpoints.save(step, state)
    report()
    checkpoints.close()
    return jax.block_until_ready(state.params)
