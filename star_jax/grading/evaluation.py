"""Summarizes an evaluation: accuracy, maj@k, pass@k and best-of-k with intervals."""

from collections.abc import Sequence
from typing import Any

from star_jax.data.sample import Sample
from star_jax.grading import statistics, summary


def summarize(
    questions: Sequence[Sequence[Sample]], scores: Sequence[Sequence[float]] = ()
) -> dict[str, Any]:
    """Summarizes an evaluation.

    Args:
        questions: samples of every question, the same number for each.
        scores: a verifier's score of each sample, in the same order; empty without a verifier.

    Returns:
        A dict with
        questions, samples: number of questions, and of samples per question.
        accuracy: share of all samples that are right; `accuracy_interval` its 95 % interval over
            questions.
        exact_accuracy, flexible_accuracy, disagreement, unparsable, truncated: shares of all
            samples, as in `summary.agreement`.
        maj_at, pass_at: k -> {"accuracy", "interval"} for k = 1, 2, 4, ... and all samples.
        best_of: the same, of the best-scored of k samples; only with `scores`.
    """
    count = len(questions[0])
    sizes = [size for size in (2**power for power in range(20)) if size < count] + [count]
    right = [[sample.correct for sample in samples] for samples in questions]
    mean = statistics.mean([sum(flags) / count for flags in right])
    every = [sample for samples in questions for sample in samples]
    majorities = {
        size: [
            statistics.majority([None if s.truncated else s.predicted for s in samples[:size]])
            == samples[0].answer
            for samples in questions
        ]
        for size in sizes
    }
    best = {
        str(size): _score(
            statistics.mean(
                [
                    statistics.best_of_k(ranked, flags, size)
                    for ranked, flags in zip(scores, right, strict=True)
                ]
            )
        )
        for size in (sizes if scores else ())
    }
    return {
        "questions": len(questions),
        "samples": count,
        "accuracy": mean.value,
        "accuracy_interval": list(mean.interval),
        **summary.agreement(every),
        "maj_at": {str(size): _score(statistics.mean(won)) for size, won in majorities.items()},
        "pass_at": {
            str(size): _score(
                statistics.mean([statistics.pass_at_k(count, sum(flags), size) for flags in right])
            )
            for size in sizes
        },
        **({"best_of": best} if scores else {}),
    }


def _score(mean: statistics.Mean) -> dict[str, Any]:
    return {"accuracy": mean.value, "interval": list(mean.interval)}
