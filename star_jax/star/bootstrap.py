"""Makes a round's training examples: generate, rationalize, filter (Algorithm 1, lines 3 to 6)."""

import functools
from collections.abc import Sequence
from typing import Any

from star_jax.data.packing import Example
from star_jax.data.sample import Sample
from star_jax.grading import diversity, filtering, ledger, summary
from star_jax.reporting import console
from star_jax.reporting.meter import Meter
from star_jax.runtime import multihost
from star_jax.star import generate, leak_score, phase
from star_jax.star import weights as models
from star_jax.star.leak_score import LeakScore
from star_jax.star.run import Run
from star_jax.storage.checkpoint import Checkpoints

Counts = dict[str, Any]  # what a round's record says of its samples

HIGH_LEAK = "high leak score"  # reason in `dropped` of what `filter.max_leak` drops


def bootstrap(run: Run, n: int, weights: Checkpoints, meter: Meter) -> tuple[list[Example], Counts]:
    """Samples rationales with M_{n-1} and filters them.

    Args:
        run: the run.
        n: number of the round, from 1.
        weights: weights of all rounds so far.
        meter: meter of the round's phases.

    Returns:
        The training examples, and the counts of `summary.summarize` and of what else was asked for.
    """
    generated, rationalized = _sample(run, n, weights, meter)
    kept = filtering.filter_samples(generated, rationalized)
    scores: list[LeakScore] = []
    if run.settings.rationalize.score_leaks:
        with meter.watch.phase("rationalize"):
            scores = _leak_scores(run, n, weights, kept)
            passing = _passing(run, kept, scores)
    else:
        passing = kept
    multihost.on_primary(lambda: ledger.write_kept(run.round_folder(n), passing))
    counts = summary.summarize(generated, rationalized, passing)
    counts |= _measures(run, n, generated, scores)
    if len(passing) < len(kept):
        counts["dropped"]["rationalized"][HIGH_LEAK] = len(kept) - len(passing)
    learned = passing
    if run.settings.rounds.data == "all":
        earlier = (ledger.read_kept(run.round_folder(number)) for number in range(1, n))
        learned = filtering.union(run.task, [*earlier, passing], run.settings.filter.dedupe)
        counts["learned"] = len(learned)
    rehearsal = run.settings.rationalize.rehearsal
    examples = run.prompter.training_examples(learned, rehearsal, run.trains_on_few_shot(n))
    return examples, counts


def gold(run: Run, n: int) -> tuple[list[Example], Counts]:
    """Returns the examples of the baseline without rationales: problems with gold answers."""
    with_shots = run.trains_on_few_shot(n)
    problems = generate.questions(run, n)
    examples = [run.prompter.direct_example(problem, with_shots) for problem in problems]
    return examples, summary.summarize([], [], []) | {"tried": 0, "kept": len(examples)}


def _sample(
    run: Run, n: int, weights: Checkpoints, meter: Meter
) -> tuple[list[Sample], list[Sample]]:
    """Samples all problems, then those without a right sample again, with the answer as a hint."""
    count = run.settings.sampler.samples
    problems = generate.questions(run, n)
    policy = models.restore_policy(run, weights, n - 1)
    with meter.watch.phase("generate"):
        generated = generate.sample(run, n, phase.GENERATE, policy, problems, count)
    if not run.settings.rationalize.enabled:
        return generated, []
    wrong = set(filtering.failed(generated))
    failed = [problem for problem in problems if problem.id in wrong]
    with meter.watch.phase("rationalize"):
        return generated, generate.sample(run, n, phase.RATIONALIZE, policy, failed, count)


def _leak_scores(run: Run, n: int, weights: Checkpoints, kept: Sequence[Sample]) -> list[LeakScore]:
    """Returns the leak scores of the rationalizations in `kept`, from the folder if they are there.

    The model that wrote them scores them.
    """
    hinted = [sample for sample in kept if sample.hint]
    load = functools.partial(models.restore, run, weights, n - 1)
    return leak_score.score_round(run, n, load, hinted)


def _passing(run: Run, kept: Sequence[Sample], scores: Sequence[LeakScore]) -> list[Sample]:
    """Returns what is left of `kept` without rationalizations above `filter.max_leak`."""
    most = run.settings.filter.max_leak
    of_hinted = iter(scores)
    return [s for s in kept if not s.hint or next(of_hinted).mean <= most or not most]


def _measures(run: Run, n: int, generated: Sequence[Sample], scores: Sequence[LeakScore]) -> Counts:
    """Returns the measures that several samples, a vote or leak scores allow."""
    counts: Counts = {}
    if run.settings.sampler.samples > 1:
        earlier = (
            ledger.read_shards(run.round_folder(number), phase.GENERATE.name)
            for number in range(1, n)
        )
        counts["diversity"] = multihost.on_primary(lambda: diversity.summarize(generated, earlier))
        console.print_diversity(run.console, n, counts["diversity"])
    if run.settings.labels.source == "majority":
        counts["labels"] = summary.labels(generated)
    if run.settings.rationalize.score_leaks:
        counts["leak_scores"] = leak_score.summarize(scores)
    return counts
