"""Runs a round with the fused step: questions in, the ledger and the weights out.

A round is one pass over its problems with one update per batch. The host grades the completions
again by the definition (`grading/grade.py`). If the device's grade differs, the run ends.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from star_jax.data import packing, prompts
from star_jax.data.sample import Sample
from star_jax.grading import device, filtering, ledger
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
    """The result of a round.

    Attributes:
        params: weights of the learner.
        steps: number of batches, which are updates except where nothing was accepted.
        loss: loss of the last update.
    """

    params: Params
    steps: int
    loss: float


def learn(
    run: Run, round_: int, start: Callable[[], Params], policy: Callable[[], Params]
) -> Outcome:
    """Runs the round's pass, or resumes it from the last checkpoint.

    Args:
        run: the run.
        round_: number of the round.
        start: function that loads the weights that the learner starts from.
        policy: function that loads the weights to sample with until they are refreshed.
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
            packing.check_ids((batch.trained.tokens, batch.hinted.tokens), model.tokens)
            state, metrics = fused.step(state, batch)
            _write(run, round_, step, questions, owners, metrics)
            report.on_step(step, _metrics(metrics))
            if step % cfg.save_every == 0 and step < len(batches):
                checkpoints.save(step, state)
    checkpoints.close()
    return Outcome(state.params, len(batches), report.loss)


def read(run: Run, round_: int) -> tuple[list[Sample], list[Sample]]:
    """Reads the generated and the rationalized samples of a finished pass from the ledger."""
    multihost.barrier()  # waits for the last shard
    folder = run.round_folder(round_)
    generated, rationalized = (ledger.read_shards(folder, phase_.name) for phase_ in _PHASES)
    return generated, rationalized


def _write(
    run: Run,
    round_: int,
    step: int,
    questions: Sequence[Problem],
    owners: Sequence[int],
    metrics: StarMetrics,
) -> None:
    """Grades a step's completions, each process its own rows, and adds them to the ledger.

    Raises:
        ValueError: the device has graded a completion differently.
    """
    folder = run.round_folder(round_)
    rows = range(len(questions))
    failed = [i for i in rows if not metrics.first.correct[i]]
    retried = failed if run.settings.rationalize.enabled else []
    attempts = (metrics.first, metrics.second)
    for phase_, attempt, indices in zip(_PHASES, attempts, (rows, retried), strict=True):
        local = [index for index in indices if owners[index] == multihost.index()]
        samples = _grade(run, round_, questions, attempt, local, hint=phase_.hinted)
        generate.write(run, folder, phase_, step - 1, samples, [owners[index] for index in indices])


def _metrics(metrics: StarMetrics) -> dict[str, float]:
    """Returns the metrics that are reported of a step."""
    return {name: float(value) for name, value in metrics.update.items()} | {
        "correct": int(metrics.first.correct.sum()),
        "accepted": int(metrics.accepted.sum()),
    }


def _grade(
    run: Run,
    round_: int,
    questions: Sequence[Problem],
    attempt: Attempt,
    indices: Sequence[int],
    *,
    hint: bool,
) -> list[Sample]:
    """Grades the rows of an attempt that are in `indices`."""
    generated, samples = attempt.generated, []
    for index in indices:
        sample = filtering.make_sample(
            run.task,
            questions[index],
            round_,
            hint,
            run.text(generated.tokens[index, : generated.length[index]].tolist()),
            truncated=not generated.finished[index],
            tokens=int(generated.length[index]),
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
    """Makes one batch of questions, filled up with empty rows."""
    settings, prompter = run.settings, run.prompter
    bucket = fused.bucket
    with_few_shot = run.shows_few_shot(round_ - 1)
    trains_on_few_shot = with_few_shot and settings.train.few_shot
    retried = questions if settings.rationalize.enabled else []
    gold, gold_length = device.gold([p.answer for p in questions], fused.answer_bytes)
    few_shot, few_shot_hinted = (
        run.programs.sampling.prefix_tokens(prompter.few_shot(hint)) if with_few_shot else None
        for hint in (False, True)
    )
    trained = [prompter.prompt_ids(p, False, trains_on_few_shot) for p in questions]
    return StarBatch(
        question=_padded([prompter.prompt_ids(p, False, with_few_shot) for p in questions], bucket),
        hinted=_padded([prompter.prompt_ids(p, True, with_few_shot) for p in retried], bucket),
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
    """Returns the share of a batch that is trained on again with its hint."""
    share = run.settings.rationalize.rehearsal
    indices = prompts.rehearsed_indices(len(questions), share)
    rows = [run.prompter.prompt_ids(questions[index], True) for index in indices]
    bucket = dataclasses.replace(fused.bucket, rows=fused.rehearsed_rows)
    batch_rows = _filled(np.array(indices, np.int32), fused.rehearsed_rows)
    return Rehearsed(_padded(rows, bucket), batch_rows)


def _padded(rows: Sequence[Sequence[int]], bucket: Bucket) -> PaddedRows:
    return PaddedRows(*left_padded(rows, bucket))


def _filled(x: NDArray, rows: int) -> NDArray:
    return np.pad(x, [(0, rows - len(x)), *[(0, 0)] * (x.ndim - 1)])
