"""Has a policy complete problems: on the devices in chunks, in the round's ledger as they end.

What is in the ledger is not sampled again, so a phase that was interrupted goes on.
"""

from collections.abc import Sequence

from etils import epath

from star_jax.data.sample import Sample
from star_jax.grading import ledger
from star_jax.inference import scheduler
from star_jax.inference.programs import Policy
from star_jax.inference.slot_batch import DeviceSlots
from star_jax.models.params import Params
from star_jax.reporting import console
from star_jax.runtime import multihost
from star_jax.star.phase import Phase
from star_jax.star.run import Run
from star_jax.tasks import Problem


def sample(
    run: Run, round_: int, phase: Phase, params: Params, problems: Sequence[Problem]
) -> list[Sample]:
    """Has a model complete every problem, grades it and writes it to the round's ledger.

    Args:
        run: the run.
        round_: number of the round.
        phase: how to prompt and draw.
        params: weights of the model, laid out for sampling.
        problems: what to complete.

    Returns:
        One sample a problem, in the order of `problems`.
    """
    folder = run.round_folder(round_)
    few_shot = run.shows_examples(round_ - 1 if phase.previous_policy else round_)
    requests = [
        scheduler.Request(
            number,
            run.prompter.prompt_ids(problem, phase.hinted, few_shot),
            run.max_new_tokens(problem),
        )
        for number, problem in enumerate(problems)
    ]
    chunks = scheduler.plan(requests, run.buckets, run.settings.sampler.refills)
    done = multihost.on_primary(lambda: ledger.shard_count(folder, phase.name))
    before = sum(len(chunk.requests) for chunk in chunks[:done])
    right = 0
    title = f"round {round_} {phase.name}"
    with console.progress(run.console, title, len(requests), before) as advance:
        prefix = run.prompter.few_shot(phase.hinted) if few_shot else ()
        programs = run.programs.sampling
        policy: Policy | None = None
        for index, chunk in enumerate(chunks[done:], done):
            seed = (run.settings.seed, round_, phase.stream)
            policy = policy or programs.policy(params, prefix, greedy=not phase.drawn)
            # Don't bind the slots to a variable: the old chunk's cache must be freed before the
            # next is allocated.
            completions, usage = scheduler.run(
                chunk, DeviceSlots(programs, policy, seed, chunk.bucket), advance
            )
            run.usage.add(usage)
            holders = programs.owners(chunk.bucket.rows)
            owners = [holders[one.slot] for one in completions]
            own = [one for one in completions if holders[one.slot] == multihost.index()]
            graded = _graded(run, round_, phase, own, problems)
            graded = write(folder, phase, index, graded, owners)
            right += sum(one.correct for one in graded)
            advance(0, right=right)
    multihost.barrier()  # the last shard is there
    return _read(folder, phase, chunks, problems)


def _read(
    folder: epath.Path,
    phase: Phase,
    chunks: Sequence[scheduler.Chunk],
    problems: Sequence[Problem],
) -> list[Sample]:
    """The samples of a phase that is done, in the order of the problems."""
    order = [request.number for chunk in chunks for request in chunk.requests]
    by_number = dict(zip(order, ledger.read_shards(folder, phase.name), strict=True))
    samples = [by_number[number] for number in range(len(problems))]
    for one, problem in zip(samples, problems, strict=True):
        if one.id != problem.id:
            raise ValueError(
                f"{folder}: a {phase.name} sample is of problem {one.id!r}, {problem.id!r} is due; "
                "has the data changed? Put it back, or delete that folder"
            )
    return samples


def _graded(
    run: Run,
    round_: int,
    phase: Phase,
    completions: Sequence[scheduler.Completion],
    problems: Sequence[Problem],
) -> list[Sample]:
    return [
        ledger.make_sample(
            run.task,
            problems[completion.number],
            round_,
            phase.hinted,
            run.text(completion.tokens),
            truncated=completion.truncated,
            tokens=len(completion.tokens),
            direct=run.direct,
            rule=run.settings.grading,
            drop_leaks=run.settings.rationalize.drop_leaks,
        )
        for completion in completions
    ]


def write(
    folder: epath.Path, phase: Phase, index: int, graded: list[Sample], owners: Sequence[int]
) -> list[Sample]:
    """Writes a chunk to the ledger; returns all of it in process 0, what was given elsewhere.

    Args:
        folder: of the round.
        phase: of the chunk.
        index: of the chunk.
        graded: the samples of this process.
        owners: of each sample of the chunk, in order, the process that has graded it.
    """
    if multihost.count() == 1:
        ledger.write_shard(folder, phase.name, index, graded)
        return graded
    if graded:
        ledger.write_part(folder, phase.name, index, multihost.index(), graded)
    multihost.barrier()
    if not multihost.is_primary():
        return graded
    return ledger.join_parts(folder, phase.name, index, owners)


def questions(run: Run, round_: int) -> list[Problem]:
    """The problems of a round that its programs hold: fresh ones can be longer."""
    problems = run.problems.train(round_)
    length, fused = run.buckets[0].prompt_length, run.programs.fused
    kept = [problem for problem in problems if run.prompter.length(problem) <= length]
    if fused:
        most = fused.spec.answer_bytes
        kept = [problem for problem in kept if len(problem.answer.encode()) <= most]
    if len(kept) < len(problems):
        run.console.print(
            f"round {round_}: {len(problems) - len(kept)} of {len(problems)} problems are longer "
            f"than those that the run was compiled for (prompts of {length} tokens) and are left "
            "out"
        )
    return kept
