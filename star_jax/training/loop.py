"""The training loop on the host: it feeds batches, saves checkpoints, and can be resumed."""

import dataclasses
from collections.abc import Callable, Sequence

import jax
from etils import epath

from star_jax.data import packing
from star_jax.data.packing import Example
from star_jax.models.params import Params
from star_jax.storage.checkpoint import Checkpoints
from star_jax.training.optimizer import Schedule
from star_jax.training.programs import UpdatePrograms

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
    checkpoints = Checkpoints(plan.folder, keep=1)
    if done := checkpoints.latest() or 0:
        state = checkpoints.restore(done, programs.state)
    else:
        state = programs.begin(start())
    on_resume(done)
    batches = packing.batches(packed, spec.batch_size, plan.seed, plan.steps, done)
    pending: list[tuple[int, Callable[[], dict[str, float]]]] = []

    def report() -> None:
        for step, read in pending:
            on_step(step, read())
        pending.clear()

    for step, batch in enumerate(batches, done + 1):
        rate = plan.schedule(step - 1)
        state, read = programs.update(state, batch, rate, plan.few_shot)
        report()  # reports the step before while this one runs; the next batch is made then too
        pending.append((step, read))
        if step % plan.save_every == 0 and step < plan.steps:
            report()
            checkpoints.save(step, state)
    report()
    checkpoints.close()
    return jax.block_until_ready(state.params)
