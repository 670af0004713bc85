"""Measures how different the samples of a question are, and whether sampling more would help."""

import collections
import math
from collections.abc import Iterable, Sequence
from typing import Any

from star_jax.data.sample import Sample
from star_jax.grading.filtering import by_question

COLLAPSED = 0.5  # share of the open questions, all of whose samples are one text, that is too much


def summarize(
    samples: Sequence[Sample], earlier: Iterable[Sequence[Sample]] = ()
) -> dict[str, Any]:
    """Summarizes the samples of one phase, the same number for every question.

    A question is open if at least one of its samples is wrong; all are if the data has no answers.

    Args:
        samples: samples of this round.
        earlier: samples of each earlier round.

    Returns:
        A dict with
        samples: number of samples a question, K.
        distinct_answers: mean number of different answers a question, 0..K.
        distinct_rationales: mean number of different texts a question, 1..K.
        answer_entropy: mean entropy in bits of a question's answers, 0..log2 K; a sample without
            an answer counts as one more answer.
        pass_rate: K + 1 numbers: how many questions have 0, 1, ..., K right samples; None if the
            data has no answers.
        collapsed: share of the open questions all of whose samples are the same text; None if no
            question is open.
        never_solved: number of questions of this round that no sample without a hint has solved,
            in this round or an earlier one; None if the data has no answers.
    """
    groups = list(by_question(samples).values())
    count = max(map(len, groups), default=0)
    right = [sum(sample.correct for sample in group) for group in groups]
    texts = [len({sample.completion.strip() for sample in group}) for group in groups]
    still_open = [n == 1 for n, hits in zip(texts, right, strict=True) if hits < count]
    known = not samples or any(sample.answer for sample in samples)
    solved = {s.id for phase in (*earlier, samples) for s in phase if s.correct}
    return {
        "samples": count,
        "distinct_answers": _mean([len(_answers(group)) for group in groups]),
        "distinct_rationales": _mean(texts),
        "answer_entropy": _mean([entropy([s.predicted for s in group]) for group in groups]),
        "pass_rate": [right.count(hits) for hits in range(count + 1)] if known else None,
        "collapsed": _mean(still_open) if still_open else None,
        "never_solved": sum(group[0].id not in solved for group in groups) if known else None,
    }


def entropy(answers: Sequence[str | None]) -> float:
    """Returns the entropy of the answers' frequencies, in bits."""
    counts = collections.Counter(answers).values()
    return -sum(n / len(answers) * math.log2(n / len(answers)) for n in counts) + 0.0


def has_collapsed(summary: dict[str, Any]) -> bool:
    """Returns whether most open questions have nothing but copies of one text."""
    return summary["collapsed"] is not None and summary["collapsed"] > COLLAPSED


def _answers(samples: Sequence[Sample]) -> set[str]:
    return {sample.predicted for sample in samples if sample.predicted is not None}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
