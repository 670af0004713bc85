"""The training loop on the host: batches in, checkpoints and metrics out, resumable at any step."""

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

# (step, metrics): called after every update
OnStep = Callable[[int, dict[str, float]], None]


@dataclasses.dataclass(frozen=True)
class TrainPlan:
    """One stretch of training.

    Attributes:
        examples: what to train on.
        steps: updates.
        seed: of the order of the sequences.
        schedule: of the learning rate.
        save_every: updates between two checkpoints.
        folder: of those checkpoints; emptied by the caller once the outcome is safe.
        few_shot: tokens that every example goes on after.
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
    """Trains from the weights `start` with a fresh optimizer, or goes on from the last checkpoint.

    Args:
        programs: of this kind of update.
        start: reads the weights to start from, where there is no checkpoint; they are used up.
        plan: what to do.
        on_step: called with number and metrics of every step, one step late, and before a
            checkpoint of it is written; if it raises, none is.
        on_resume: called once, first, with the step at which training starts.

    Returns:
        The trained weights.

    Raises:
        ValueError: no examples, or one that is longer than a sequence or holds a token that the
            model has no row for.
    """
    model, spec = programs.config, programs.spec
    packing.check_ids((one.tokens for one in plan.examples), model.vocab - model.vocab_padding)
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
        report()  # of the step before, while this one runs; so is the next batch made
        pending.append((step, read))
        if step % plan.save_every == 0 and step < plan.steps:
            report()
            checkpoints.save(step, state)
    report()
    checkpoints.close()
    return jax.block_until_ready(state.params)
