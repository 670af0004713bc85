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
from star_jax.inference.buckets import Bucket
from star_jax.inference.scheduler import left_padded
from star_jax.models.params import Params
from star_jax.runtime import multihost
from star_jax.star import finetune, generate, phase
from star_jax.star.fused_programs import FusedSpec
from star_jax.star.fused_step import Attempt, PaddedRows, Rehearsed, StarBatch, StarMetrics
from star_jax.star.run import Run
from star_jax.storage.checkpoint import Checkpoints
from star_jax.tasks import Problem

_PHASES = (phase.GENERATE, phase.RATIONALIZE)


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
    run: Run, round_: int, start: Callable[[], Params], policy: Callable[[], Params]
) -> Outcome:
    """Makes the round's pass, or goes on with it from the last checkpoint.

    Args:
        run: the run.
        round_: its number.
        start: reads the weights that the learner begins with.
        policy: reads those that are sampled with, until they are refreshed.
    """
    fused, cfg, model = run.programs.fused, run.settings.train, run.model
    if fused is None:
        raise ValueError("this run has no fused step: config.mode is not 'fused'")
    problems = generate.questions(run, round_)
    rows = fused.spec.bucket.rows
    batches = [range(at, min(at + rows, len(problems))) for at in range(0, len(problems), rows)]
    schedule = finetune.schedule(cfg, len(batches))
    owners = run.programs.sampling.owners(rows)
    checkpoints = Checkpoints(run.checkpoint_folder(round_), keep=1)
    if done := checkpoints.latest() or 0:
        state = checkpoints.restore(done, fused.state)
    else:
        state = fused.begin(start(), policy() if fused.has_policy else None)
    with finetune.TrainingReport(run, round_, "star_step", len(batches)) as report:
        report.on_resume(done)
        for step, numbers in enumerate(batches[done:], done + 1):
            questions = [problems[number] for number in numbers]
            batch = _batch(run, fused.spec, round_, questions, numbers, schedule(step - 1))
            packing.check_ids(
                (batch.trained.tokens, batch.hinted.tokens), model.vocab - model.vocab_padding
            )
            state, metrics = fused.step(state, batch)
            _write(run, round_, step, questions, owners, metrics)
            report.on_step(step, _metrics(metrics))
            if step % cfg.save_every == 0 and step < len(batches):
                checkpoints.save(step, state)
    checkpoints.close()
    return Outcome(state.params, len(batches), report.loss)


def read(run: Run, round_: int) -> tuple[list[Sample], list[Sample]]:
    """The ledger of a pass: what was generated, and what was rationalized of it."""
    multihost.barrier()  # the last of it is there
    folder = run.round_folder(round_)
    generated, rationalized = (ledger.read_shards(folder, one.name) for one in _PHASES)
    return generated, rationalized


def _write(
    run: Run,
    round_: int,
    step: int,
    questions: Sequence[Problem],
    owners: Sequence[int],
    metrics: StarMetrics,
) -> None:
    """Grades what a step wrote, each process its own rows, and adds it to the ledger.

    Raises:
        ValueError: the device has graded something otherwise.
    """
    folder = run.round_folder(round_)
    everything = range(len(questions))
    failed = [i for i in everything if not metrics.first.correct[i]]
    tried = failed if run.settings.rationalize.enabled else []
    attempts = (metrics.first, metrics.second)
    for one, attempt, indices in zip(_PHASES, attempts, (everything, tried), strict=True):
        own = [index for index in indices if owners[index] == multihost.index()]
        graded = _graded(run, round_, questions, attempt, own, hint=one.hinted)
        generate.write(folder, one, step - 1, graded, [owners[index] for index in indices])


def _metrics(metrics: StarMetrics) -> dict[str, float]:
    """What is reported of a step."""
    return {name: float(value) for name, value in metrics.update.items()} | {
        "correct": int(metrics.first.correct.sum()),
        "accepted": int(metrics.accepted.sum()),
    }


def _graded(
    run: Run,
    round_: int,
    questions: Sequence[Problem],
    attempt: Attempt,
    indices: Sequence[int],
    *,
    hint: bool,
) -> list[Sample]:
    """The samples of those rows of an attempt that are in `indices`."""
    written, samples = attempt.generated, []
    for index in indices:
        sample = ledger.make_sample(
            run.task,
            questions[index],
            round_,
            hint,
            run.text(written.tokens[index, : written.length[index]].tolist()),
            truncated=not written.finished[index],
            tokens=int(written.length[index]),
        )
        if sample.correct != attempt.correct[index]:
            raise ValueError(
                f"grading/device.py says {bool(attempt.correct[index])} of a completion of "
                f"problem {sample.id!r} and grading/grade.py {sample.correct}: "
                f"{sample.completion!r}. That is a fault of this program; "
                "config.mode='rounds' grades by the latter alone"
            )
        samples.append(sample)
    return samples


def _batch(
    run: Run,
    fused: FusedSpec,
    round_: int,
    questions: Sequence[Problem],
    numbers: range,
    learning_rate: float,
) -> StarBatch:
    """One batch of questions, filled up with empty rows."""
    settings, prompter = run.settings, run.prompter
    bucket = fused.bucket
    shown = run.shows_examples(round_ - 1)
    trains_on_few_shot = shown and settings.train.few_shot
    tried = questions if settings.rationalize.enabled else []
    gold, gold_length = device.gold([p.answer for p in questions], fused.answer_bytes)
    few_shot, few_shot_hinted = (
        run.programs.sampling.prefix_tokens(prompter.few_shot(hint)) if shown else None
        for hint in (False, True)
    )
    trained = [prompter.prompt_ids(p, False, trains_on_few_shot) for p in questions]
    return StarBatch(
        question=_padded([prompter.prompt_ids(p, False, shown) for p in questions], bucket),
        hinted=_padded([prompter.prompt_ids(p, True, shown) for p in tried], bucket),
        trained=_padded(trained, bucket),
        rehearsed=_rehearsed(run, fused, questions) if fused.rehearsed_rows else None,
        number=_filled(np.array(numbers, np.int32), bucket.rows),
        gold=_filled(gold, bucket.rows),
        gold_length=_filled(gold_length, bucket.rows),
        few_shot=few_shot,
        few_shot_hinted=few_shot_hinted,
        seed=np.array([settings.seed, round_], np.uint32),
        learning_rate=np.float32(learning_rate),
    )


def _rehearsed(run: Run, fused: FusedSpec, questions: Sequence[Problem]) -> Rehearsed:
    """The share of a batch that is trained on again with its hint."""
    share = run.settings.rationalize.rehearsal
    indices = prompts.rehearsed_indices(len(questions), share)
    rows = [run.prompter.prompt_ids(questions[index], True) for index in indices]
    bucket = dataclasses.replace(fused.bucket, rows=fused.rehearsed_rows)
    of = _filled(np.array(indices, np.int32), fused.rehearsed_rows)
    return Rehearsed(_padded(rows, bucket), of)


def _padded(rows: Sequence[Sequence[int]], bucket: Bucket) -> PaddedRows:
    return PaddedRows(*left_padded(rows, bucket))


def _filled(x: NDArray, rows: int) -> NDArray:
    return np.pad(x, [(0, rows - len(x)), *[(0, 0)] * (x.ndim - 1)])
