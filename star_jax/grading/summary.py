"""Summarizes a round's samples: counts, and shares of errors that accuracy does not show."""

import collections
from collections.abc import Callable, Sequence
from typing import Any

from star_jax.data.sample import Sample
from star_jax.grading import filtering
from star_jax.grading.statistics import Score


def summarize(
    samples: Sequence[Sample], rationalized: Sequence[Sample], kept: Sequence[Sample]
) -> dict[str, Any]:
    """Summarizes a round.

    Args:
        samples: samples without the hint.
        rationalized: samples with the hint.
        kept: samples that the round trains on.

    Returns:
        A dict that JSON can hold, with
        tried, correct: number of samples without the hint, and of those that are right; None for
            the latter if the data has no answers.
        hinted, rationalized: number of samples of failures with the hint, and of those kept.
        kept: number of samples that the round trains on.
        wrong_step_share {generated, rationalized}: share of the kept rationales that have a wrong
            step although their answer is right; None if none is kept or the task cannot know.
        truncated, unparsable {generated, rationalized}: share of the samples that reached
            max_new_tokens, and that ended without an answer; None without samples.
        disagreement {generated, rationalized}: share on which the exact and the flexible rule
            differ; None without samples, or without answers.
        dropped {generated, rationalized}: reason -> number of samples dropped for it.
        leaks: kind -> number of right rationalizations that reveal the hint in this way.
        by_class: the five counts and wrong_step_share for each class.
    """
    groups = dict.fromkeys(sample.group for sample in samples)
    return {
        **_counts(samples, rationalized, kept),
        "truncated": _both(samples, rationalized, _truncated_share),
        "unparsable": _both(samples, rationalized, _unparsable_share),
        "disagreement": _both(samples, rationalized, _disagreement_share),
        "leaks": _leaks(rationalized),
        "dropped": _dropped(samples, rationalized),
        "by_class": {
            group: _counts(
                *([s for s in part if s.group == group] for part in (samples, rationalized, kept))
            )
            for group in groups
        },
    }


def _counts(
    samples: Sequence[Sample], rationalized: Sequence[Sample], kept: Sequence[Sample]
) -> dict[str, Any]:
    generated = [sample for sample in kept if not sample.hint]
    with_hint = [sample for sample in kept if sample.hint]
    return {
        "tried": len(samples),
        "correct": sum(sample.correct for sample in samples) if _has_answers(samples) else None,
        "hinted": len(rationalized),
        "rationalized": len(with_hint),
        "kept": len(kept),
        "wrong_step_share": _both(generated, with_hint, _wrong_step_share),
    }


def _both(
    generated: Sequence[Sample],
    rationalized: Sequence[Sample],
    share: Callable[[Sequence[Sample]], float | None],
) -> dict[str, float | None]:
    return {"generated": share(generated), "rationalized": share(rationalized)}


def _wrong_step_share(samples: Sequence[Sample]) -> float | None:
    return _share([s.wrong_step for s in samples if s.wrong_step is not None])


def _truncated_share(samples: Sequence[Sample]) -> float | None:
    return _share([sample.truncated for sample in samples])


def _unparsable_share(samples: Sequence[Sample]) -> float | None:
    return _share([sample.reason == "no answer" for sample in samples])


def _disagreement_share(samples: Sequence[Sample]) -> float | None:
    if not _has_answers(samples):
        return None
    return _share([sample.exact != sample.flexible for sample in samples])


def _has_answers(samples: Sequence[Sample]) -> bool:
    """Returns whether it is known which samples are right; True without samples."""
    return not samples or any(sample.answer for sample in samples)


def _leaks(rationalized: Sequence[Sample]) -> dict[str, int]:
    counts = collections.Counter(
        kind for sample in rationalized if sample.correct for kind in sample.leaks
    )
    return dict(sorted(counts.items()))


def _dropped(
    samples: Sequence[Sample], rationalized: Sequence[Sample]
) -> dict[str, dict[str, int]]:
    def reasons(tries: Sequence[Sample]) -> dict[str, int]:
        counts = collections.Counter(sample.reason for sample in tries if not sample.kept)
        return dict(sorted(counts.items()))

    return {"generated": reasons(samples), "rationalized": reasons(rationalized)}


def labels(samples: Sequence[Sample]) -> dict[str, Any]:
    """Summarizes the labels that the samples of each question have voted for.

    Returns:
        A dict with
        labelled: number of questions that have a label.
        tied, weak, unparsable: number of questions without one: two answers were as frequent, the
            most frequent was below `labels.threshold`, or no sample had an answer.
        share: mean share of a labelled question's samples that have the label; None without one.
        accuracy, accuracy_interval: share of the labels that are the data's answer, where the data
            has one, and its 95 % interval; None without any.
    """
    questions = filtering.by_question(samples).values()
    labelled = [group for group in questions if group[0].label is not None]
    rest = [group for group in questions if group[0].label is None]
    reasons = [{sample.reason for sample in group} for group in rest]
    known = [group[0] for group in labelled if group[0].answer]
    right = sum(sample.label == sample.answer for sample in known)
    score = Score(right, len(known)) if known else None
    shares = [filtering.vote(group).share for group in labelled]
    return {
        "labelled": len(labelled),
        "tied": sum("tied vote" in found for found in reasons),
        "weak": sum("weak vote" in found for found in reasons),
        "unparsable": sum(not found & {"tied vote", "weak vote"} for found in reasons),
        "share": sum(shares) / len(shares) if shares else None,
        "accuracy": score.accuracy if score else None,
        "accuracy_interval": list(score.interval) if score else None,
    }


def agreement(samples: Sequence[Sample]) -> dict[str, float | None]:
    """Returns shares of samples: right by either rule, disagreement, unparsable, truncated."""
    return {
        "exact_accuracy": _share([sample.exact for sample in samples]),
        "flexible_accuracy": _share([sample.flexible for sample in samples]),
        "disagreement": _disagreement_share(samples),
        "unparsable": _unparsable_share(samples),
        "truncated": _truncated_share(samples),
    }


def _share(flags: Sequence[bool]) -> float | None:
    return sum(flags) / len(flags) if flags else None
