"""A round by the fused step, on the host: questions in, the ledger and the weights out.

One pass over the round's problems, an update a batch of them. What the device wrote is graded again
here, by the definition (`grading/grade.py`): where the two should ever differ, the run ends.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from star_jax.data import packing, prompts
from star_jax.data.sample import Sample
from star_jax.grading import device, ledger
from star_jax.grading.ledger import Kind
from star_jax.inference.scheduler import Bucket, left_padded
from star_jax.models.params import Params
from star_jax.runtime import multihost
from star_jax.star import phases
from star_jax.star.build import Run
from star_jax.star.fused_step import Attempt, PaddedRows, Rehearsed, StarBatch, StarMetrics
from star_jax.storage.checkpoint import Checkpoints
from star_jax.tasks import Problem
from star_jax.training.spec import FusedSpec

_TRIES: tuple[Kind, Kind] = ("samples", "rationalized")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a round came to.

    Attributes:
        params: the learner's weights.
        steps: batches, and so updates but where nothing was accepted.
        loss: of the last update.
    """

    params: Params
    steps: int
    loss: float


def learn(
    context: Run, round_: int, start: Callable[[], Params], policy: Callable[[], Params]
) -> Outcome:
    """Makes the round's pass, or goes on with it from the last checkpoint.

    Args:
        context: of the run.
        round_: its number.
        start: reads the weights that the learner begins with.
        policy: reads those that are sampled with, until they are refreshed.
    """
    programs, chosen = context.programs, context.settings.train
    fused = programs.fused
    if fused is None:
        raise ValueError("this run has no fused step: config.mode is not 'fused'")
    problems = phases.questions(context, round_)
    rows, model = fused.bucket.rows, context.model
    batches = [range(at, min(at + rows, len(problems))) for at in range(0, len(problems), rows)]
    schedule = phases.schedule(chosen, len(batches))
    owners = programs.owners(fused.bucket)
    own = programs.states["train"].policy is not None
    checkpoints = Checkpoints(phases.checkpoints(context, round_), keep=1)
    done = checkpoints.latest() or 0
    state = (
        checkpoints.restore(done, programs.states["train"])
        if done
        else programs.begin("train", start(), policy() if own else None)
    )
    with phases.Report(context, round_, "star_step", len(batches)) as told:
        told.resumed(done)
        for step, numbers in enumerate(batches[done:], done + 1):
            asked = [problems[number] for number in numbers]
            batch = _batch(context, fused, round_, asked, numbers, schedule(step - 1))
            packing.check_ids(
                (batch.trained.tokens, batch.hinted.tokens), model.vocab - model.padding
            )
            state, found = programs.star_step(state, batch)
            _write(context, round_, step, asked, owners, found)
            told.heard(step, _metrics(found))
            if step % chosen.save_every == 0 and step < len(batches):
                checkpoints.save(step, state)
    checkpoints.close()
    return Outcome(state.params, len(batches), told.loss)


def read(context: Run, round_: int) -> tuple[list[Sample], list[Sample]]:
    """The ledger of a pass: what was generated, and what was rationalized of it."""
    multihost.barrier()  # the last of it is there
    folder = context.round_folder(round_)
    generated, rationalized = (ledger.read_shards(folder, kind) for kind in _TRIES)
    return generated, rationalized


def _write(
    context: Run,
    round_: int,
    step: int,
    asked: Sequence[Problem],
    owners: Sequence[int],
    found: StarMetrics,
) -> None:
    """Grades what a step wrote, each process its own rows, and adds it to the ledger.

    Raises:
        ValueError: the device has graded something otherwise.
    """
    folder = context.round_folder(round_)
    everything = range(len(asked))
    failed = [i for i in everything if not found.first.correct[i]]
    tried = failed if context.settings.rationalize.enabled else []
    for kind, places in zip(_TRIES, (everything, tried), strict=True):
        own = [place for place in places if owners[place] == multihost.index()]
        hint = kind == "rationalized"
        attempt = found.second if hint else found.first
        graded = _graded(context, round_, asked, attempt, own, hint=hint)
        phases.write(folder, kind, step - 1, graded, [owners[place] for place in places])


def _metrics(found: StarMetrics) -> dict[str, float]:
    """What is reported of a step."""
    return {name: float(value) for name, value in found.update.items()} | {
        "correct": int(found.first.correct.sum()),
        "accepted": int(found.accepted.sum()),
    }


def _graded(
    context: Run,
    round_: int,
    asked: Sequence[Problem],
    attempt: Attempt,
    places: Sequence[int],
    *,
    hint: bool,
) -> list[Sample]:
    """The samples of those rows of an attempt that are in `places`."""
    written, samples = attempt.generated, []
    for place in places:
        sample = ledger.make_sample(
            context.task,
            asked[place],
            round_,
            hint,
            context.text(written.tokens[place, : written.length[place]].tolist()),
            truncated=not written.finished[place],
            tokens=int(written.length[place]),
        )
        if sample.correct != attempt.correct[place]:
            raise ValueError(
                f"grading/device.py says {bool(attempt.correct[place])} of a completion of "
                f"problem {sample.id!r} and grading/grade.py {sample.correct}: "
                f"{sample.completion!r}. That is a fault of this program; "
                "config.mode='rounds' grades by the latter alone"
            )
        samples.append(sample)
    return samples


def _batch(
    context: Run,
    fused: FusedSpec,
    round_: int,
    asked: Sequence[Problem],
    numbers: range,
    learning_rate: float,
) -> StarBatch:
    """One batch of questions, filled up with empty rows."""
    settings, prompter = context.settings, context.prompter
    shown = context.shows_examples(round_ - 1)
    tried = asked if settings.rationalize.enabled else []
    gold, gold_length = device.gold([p.answer for p in asked], fused.answer_bytes)
    trained = shown and settings.train.few_shot
    few_shot = [
        context.programs.sampling.few_shot(prompter.few_shot(hint)) if shown else None
        for hint in (False, True)
    ]
    return StarBatch(
        question=_padded([prompter.row(p, False, shown) for p in asked], fused.bucket),
        hinted=_padded([prompter.row(p, True, shown) for p in tried], fused.bucket),
        trained=_padded([prompter.row(p, False, trained) for p in asked], fused.bucket),
        rehearsed=_rehearsed(context, fused, asked) if fused.again else None,
        number=_filled(np.array(numbers, np.int32), fused.bucket.rows),
        gold=_filled(gold, fused.bucket.rows),
        gold_length=_filled(gold_length, fused.bucket.rows),
        few_shot=few_shot[0],
        few_shot_hinted=few_shot[1],
        seed=np.array([settings.seed, round_], np.uint32),
        learning_rate=np.float32(learning_rate),
    )


def _rehearsed(context: Run, fused: FusedSpec, asked: Sequence[Problem]) -> Rehearsed:
    """The share of a batch that is trained on again with its hint."""
    share = context.settings.rationalize.rehearsal
    places = prompts.rehearsed(len(asked), share)
    rows = [context.prompter.row(asked[place], True) for place in places]
    shape = dataclasses.replace(fused.bucket, rows=fused.again)
    return Rehearsed(_padded(rows, shape), _filled(np.array(places, np.int32), fused.again))


def _padded(rows: Sequence[Sequence[int]], shape: Bucket) -> PaddedRows:
    return PaddedRows(*left_padded(rows, shape))


def _filled(x: NDArray, rows: int) -> NDArray:
    return np.pad(x, [(0, rows - len(x)), *[(0, 0)] * (x.ndim - 1)])
