"""Samples completions of problems in chunks, and writes each graded chunk to the round's ledger.

Chunks in the ledger are not sampled again, so an interrupted phase resumes.
"""

import functools
from collections.abc import Sequence

from etils import epath

from star_jax.data.prompts import Prompter
from star_jax.data.sample import Sample
from star_jax.grading import filtering, ledger
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
    run: Run,
    round_: int,
    phase: Phase,
    params: Params,
    problems: Sequence[Problem],
    samples: int = 1,
) -> list[Sample]:
    """Samples completions of every problem, grades them and writes them to the round's ledger.

    Args:
        run: the run.
        round_: number of the round.
        phase: phase that says how to prompt and draw.
        params: weights of the model, laid out for sampling.
        problems: problems to complete.
        samples: completions of every problem.

    Returns:
        The samples of every problem, in the order of `problems`.
    """
    folder = run.round_folder(round_)
    few_shot = run.shows_few_shot(round_ - 1 if phase.previous_policy else round_)
    planned = _plan(run, phase, problems, samples, few_shot)
    chunks = [chunk for chunk, _ in planned]
    done = multihost.on_primary(lambda: ledger.shard_count(folder, phase.name))
    completed = samples * sum(len(chunk.requests) for chunk in chunks[:done])
    right = 0
    title = f"round {round_} {phase.name}"
    with console.progress(run.console, title, samples * len(problems), completed) as advance:
        programs = run.programs.sampling
        policy: Policy | None = None
        last: Prompter | None = None
        for index, (chunk, prompter) in enumerate(planned[done:], done):
            seed = (run.settings.seed, round_, phase.stream)
            if policy is None or prompter is not last:
                prefix = prompter.few_shot(phase.hinted) if few_shot else ()
                policy = programs.policy(params, prefix, greedy=not phase.drawn)
                last = prompter
            # Don't bind the slots to a variable: the old chunk's cache must be freed before the
            # next is allocated.
            completions, usage = scheduler.run(
                chunk, DeviceSlots(programs, policy, seed, chunk.bucket), advance
            )
            run.usage.add(usage)
            process_of_slot = programs.owners(chunk.bucket.rows)
            owners = [process_of_slot[completion.slot] for completion in completions]
            local = [c for c in completions if process_of_slot[c.slot] == multihost.index()]
            graded = _grade(run, round_, phase, local, problems)
            written = write(run, folder, phase, index, graded, owners)
            right += sum(sample.correct for sample in written)
            advance(0, right=right)
    multihost.barrier()  # waits for the last shard
    return _read(folder, phase, chunks, problems)


def _plan(
    run: Run, phase: Phase, problems: Sequence[Problem], samples: int, few_shot: bool
) -> list[tuple[scheduler.Chunk, Prompter]]:
    """Returns the chunks of a phase, each with its few-shot prompt's prompter, class by class."""
    parts: dict[int, tuple[Prompter, list[scheduler.Request]]] = {}
    for number, problem in enumerate(problems):
        prompter = run.prompter.for_class(problem.group) if few_shot else run.prompter
        ids = prompter.prompt_ids(problem, phase.hinted, few_shot)
        request = scheduler.Request(number, ids, run.max_new_tokens(problem), samples)
        parts.setdefault(id(prompter), (prompter, []))[1].append(request)
    return [
        (chunk, prompter)
        for prompter, requests in parts.values()
        for chunk in scheduler.plan(requests, run.buckets, run.settings.sampler.refills)
    ]


def _read(
    folder: epath.Path,
    phase: Phase,
    chunks: Sequence[scheduler.Chunk],
    problems: Sequence[Problem],
) -> list[Sample]:
    """Reads the samples of a finished phase, in the order of the problems."""
    order = [
        (request.number, index)
        for chunk in chunks
        for request in chunk.requests
        for index in range(request.samples)
    ]
    by_number = dict(zip(order, ledger.read_shards(folder, phase.name), strict=True))
    for (number, index), sample_ in by_number.items():
        if (sample_.id, sample_.sample) != (due := problems[number].id, index):
            raise ValueError(
                f"{folder}: one {phase.name} line is sample {sample_.sample} of problem "
                f"{sample_.id!r}, and sample {index} of {due!r} is due; has the data changed? Put "
                "it back, or delete that folder"
            )
    return [by_number[key] for key in sorted(by_number)]


def _grade(
    run: Run,
    round_: int,
    phase: Phase,
    completions: Sequence[scheduler.Completion],
    problems: Sequence[Problem],
) -> list[Sample]:
    return [
        filtering.make_sample(
            run.task,
            problems[completion.number],
            round_,
            phase.hinted,
            run.text(completion.tokens),
            truncated=completion.truncated,
            tokens=len(completion.tokens),
            sample=completion.sample,
            direct=run.direct,
            rule=run.settings.grading,
            filter=run.settings.filter,
        )
        for completion in completions
    ]


def write(
    run: Run,
    folder: epath.Path,
    phase: Phase,
    index: int,
    graded: list[Sample],
    owners: Sequence[int],
) -> list[Sample]:
    """Writes a chunk to the ledger, the samples of each question judged together.

    Args:
        run: the run.
        folder: folder of the round.
        phase: phase of the chunk.
        index: index of the chunk in its phase.
        graded: samples that this process has graded.
        owners: index of the process that has graded each sample of the chunk, in order.

    Returns:
        All samples of the chunk in process 0; `graded` in other processes.
    """
    rule = filtering.FilterRule(run.settings.filter, run.settings.labels)
    judge = functools.partial(filtering.judge, run.task, rule=rule) if phase.trained_on else list
    if multihost.count() == 1:
        judged = judge(graded)
        ledger.write_shard(folder, phase.name, index, judged)
        return judged
    if graded:
        ledger.write_part(folder, phase.name, index, multihost.index(), graded)
    multihost.barrier()
    if not multihost.is_primary():
        return graded
    return ledger.join_parts(folder, phase.name, index, owners, judge)


def questions(run: Run, round_: int) -> list[Problem]:
    """Returns the problems of a round that fit its programs: a later round's can be longer."""
    problems = run.problems.train(round_)
    length, fused = run.buckets[0].prompt_length, run.programs.fused
    fitting = [problem for problem in problems if run.prompter.length(problem) <= length]
    if fused:
        most = fused.spec.answer_bytes
        fitting = [problem for problem in fitting if len(problem.answer.encode()) <= most]
    if len(fitting) < len(problems):
        run.console.print(
            f"round {round_}: {len(problems) - len(fitting)} of {len(problems)} problems are "
            f"longer than those that the run was compiled for (prompts of {length} tokens) and are "
            "left out"
        )
    return fitting
