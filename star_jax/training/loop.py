"""The training loop on the host: batches in, checkpoints and metrics out, resumable at any step."""

import dataclasses
from collections.abc import Callable, Sequence

import jax
from etils import epath

from star_jax.data import packing
from star_jax.data.packing import Example
from star_jax.models.params import Params
from star_jax.star.programs import Programs
from star_jax.storage.checkpoint import Checkpoints
from star_jax.training.optimizer import Schedule

# (step, metrics): called after every update
OnStep = Callable[[int, dict[str, float]], None]


@dataclasses.dataclass(frozen=True)
class TrainPlan:
    """One stretch of training.

    Attributes:
        kind: of update, a name in `Programs`.
        examples: what to train on.
        length: tokens of a packed sequence.
        batch_size: packed sequences an update.
        steps: updates.
        seed: of the order of the sequences.
        schedule: of the learning rate.
        save_every: updates between two checkpoints.
        folder: of those checkpoints; emptied by the caller once the outcome is safe.
        few_shot: tokens that every example goes on after.
    """

    kind: str
    examples: Sequence[Example]
    length: int
    batch_size: int
    steps: int
    seed: int
    schedule: Schedule
    save_every: int
    folder: epath.Path
    few_shot: Sequence[int] = ()


def train(
    programs: Programs,
    start: Callable[[], Params],
    plan: TrainPlan,
    on_step: OnStep,
    on_resume: Callable[[int], None],
) -> Params:
    """Trains from the weights `start` with a fresh optimizer, or goes on from the last checkpoint.

    Args:
        programs: compiled, with an update called `plan.kind`.
        start: reads the weights to start from, where there is no checkpoint; they are used up.
        plan: what to do.
        heard: is told the metrics of every step, one step late, and before a checkpoint of it is
            written; if it raises, none is.
        resumed: is told, once and first, at which step training starts (0, or a checkpoint's).

    Returns:
        The trained weights.

    Raises:
        ValueError: no examples, or one that is longer than a sequence or holds a token that the
            model has no row for.
    """
    model = programs.sampling.config
    packing.check_ids((one.tokens for one in plan.examples), model.vocab - model.padding)
    packed = packing.pack(plan.examples, plan.length)
    checkpoints = Checkpoints(plan.folder, keep=1)
    if done := checkpoints.latest() or 0:
        state = checkpoints.restore(done, programs.states[plan.kind])
    else:
        state = programs.begin(plan.kind, start())
    on_resume(done)
    batches = packing.batches(packed, plan.batch_size, plan.seed, plan.steps, done)
    waiting: list[tuple[int, Callable[[], dict[str, float]]]] = []

    def hear() -> None:
        for step, read in waiting:
            on_step(step, read())
        waiting.clear()

    for step, batch in enumerate(batches, done + 1):
        rate = plan.schedule(step - 1)
        state, read = programs.update(plan.kind, state, batch, rate, plan.few_shot)
        hear()  # of the step before, while this one runs; so is the next batch made
        waiting.append((step, read))
        if step % plan.save_every == 0 and step < plan.steps:
            hear()
            checkpoints.save(step, state)
    hear()
    checkpoints.close()
    return jax.block_until_ready(state.params)
