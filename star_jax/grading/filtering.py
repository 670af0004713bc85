"""The filter: which samples a round trains on (Algorithm 1, lines 5 and 6, and its relatives).

`make_sample` judges a sample by itself. `judge` judges the samples of a question together: it finds
their label, if they vote, and drops equal ones and those over the cap. `filter_samples` joins what
is left of the two tries.
"""

import collections
import dataclasses
from collections.abc import Iterable, Sequence

from star_jax.config import schema
from star_jax.data.sample import Reason, Sample
from star_jax.grading.grade import Rule, Verdict, grade
from star_jax.tasks.task import Problem, Task

_ALL = schema.Filter()  # keeps all right rationales


@dataclasses.dataclass(frozen=True)
class FilterRule:
    """What a sample must be to be trained on, besides being right.

    Attributes:
        filter: settings of the filter.
        labels: settings of the labels.
    """

    filter: schema.Filter = _ALL
    labels: schema.Labels = schema.Labels()


def make_sample(
    task: Task,
    problem: Problem,
    round: int,
    hint: bool,
    completion: str,
    *,
    truncated: bool,
    tokens: int,
    sample: int = 0,
    direct: bool = False,
    rule: Rule = "exact",
    filter: schema.Filter = _ALL,
) -> Sample:
    """Returns the ledger's line for one completion of `problem`.

    The arguments are those of `grade` and the fields of `Sample`. `filter` says whether a rationale
    that gives its hint away, or has a wrong step or none that can be checked, is dropped.
    """
    verdict = grade(task, problem, completion, truncated=truncated, direct=direct, rule=rule)
    completion, truncated = verdict.completion, verdict.truncated
    leaks = task.leaks(problem, completion) if hint else []
    wrong_step = task.wrong_step(problem, completion)
    reason = _reason(verdict, truncated)
    if reason == "kept":
        reason = _flaw(bool(leaks), wrong_step, filter)
    return Sample(
        id=problem.id,
        round=round,
        group=problem.group,
        hint=hint,
        question=problem.question,
        choices=list(problem.choices),
        prompt=task.prompt(problem, hint),
        completion=completion,
        predicted=verdict.predicted,
        answer=problem.answer,
        correct=verdict.correct,
        exact=verdict.exact,
        flexible=verdict.flexible,
        truncated=truncated,
        leaks=leaks,
        kept=reason == "kept",
        reason=reason,
        wrong_step=wrong_step,
        tokens=tokens,
        sample=sample,
    )


def _reason(verdict: Verdict, truncated: bool) -> Reason:
    if verdict.correct:
        return "kept"
    if truncated:
        return "truncated"
    return "no answer" if verdict.predicted is None else "wrong answer"


def _flaw(leaks: bool, wrong_step: bool | None, filter: schema.Filter) -> Reason:
    """Returns the reason to drop a sample with the right answer; "kept" without one."""
    if leaks and filter.leaks:
        return "hint leak"
    if wrong_step is None and filter.unchecked:
        return "no checked step"
    return "wrong step" if wrong_step and filter.wrong_steps else "kept"


def judge(task: Task, samples: Sequence[Sample], rule: FilterRule) -> list[Sample]:
    """Judges the samples of each question together.

    If the samples vote, those with the question's label are kept instead of those with the data's
    answer. Then, in the order of the samples, one that equals an earlier kept one of its question
    is dropped, and each that comes after `filter.cap` kept ones.

    Args:
        task: task that lists the steps of a rationale.
        samples: all samples of some questions in one phase, in any order.
        rule: settings of the filter and of the labels.

    Returns:
        The samples in the same order, with `kept`, `reason` and `label` as judged.
    """
    places: dict[str, list[int]] = {}
    for place, sample in enumerate(samples):
        places.setdefault(sample.id, []).append(place)
    judged = list(samples)
    for of_question in places.values():
        of_question.sort(key=lambda place: samples[place].sample)
        drawn = [samples[place] for place in of_question]
        if rule.labels.source == "majority":
            drawn = _vote(drawn, rule)
        for place, sample in zip(of_question, _distinct(task, drawn, rule.filter), strict=True):
            judged[place] = sample
    return judged


def by_question(samples: Iterable[Sample]) -> dict[str, list[Sample]]:
    """Returns the samples by the id of their question, in the order in which the ids first come."""
    grouped: dict[str, list[Sample]] = {}
    for sample in samples:
        grouped.setdefault(sample.id, []).append(sample)
    return grouped


@dataclasses.dataclass(frozen=True)
class Vote:
    """The vote of a question's samples on its answer (Wang et al., 2022).

    Attributes:
        label: the most frequent answer; None if no sample has one, or two are as frequent.
        share: share of all samples that have the most frequent answer, 0..1.
    """

    label: str | None
    share: float


def vote(samples: Sequence[Sample]) -> Vote:
    """Counts the answers of a question's samples; a truncated sample has none."""
    answers = [s.predicted for s in samples if s.predicted is not None and not s.truncated]
    if not answers:
        return Vote(None, 0.0)
    (first, count), *others = collections.Counter(answers).most_common(2)
    tied = bool(others) and others[0][1] == count
    return Vote(None if tied else first, count / len(samples))


def _vote(samples: Sequence[Sample], rule: FilterRule) -> list[Sample]:
    """Returns the samples of a question, kept or dropped by their vote."""
    won = vote(samples)
    label = won.label if won.share >= rule.labels.threshold else None
    judged = []
    for sample in samples:
        reason = _verdict(sample, won, label, rule.filter)
        judged.append(
            dataclasses.replace(sample, label=label, kept=reason == "kept", reason=reason)
        )
    return judged


def _verdict(sample: Sample, won: Vote, label: str | None, filter: schema.Filter) -> Reason:
    if sample.truncated:
        return "truncated"
    if sample.predicted is None:
        return "no answer"
    if won.label is None:
        return "tied vote"
    if label is None:
        return "weak vote"
    if sample.predicted != label:
        return "outvoted"
    return _flaw(bool(sample.leaks), sample.wrong_step, filter)


def _distinct(task: Task, samples: Sequence[Sample], filter: schema.Filter) -> list[Sample]:
    """Returns the samples of a question, equal ones and those over the cap dropped."""
    seen: set[object] = set()
    judged, kept = [], 0
    for sample in samples:
        key = dedupe_key(task, sample, filter.dedupe)
        reason: Reason | None = None
        if sample.kept and filter.dedupe != "none" and key in seen:
            reason = "duplicate"
        elif sample.kept and filter.cap and kept == filter.cap:
            reason = "over the cap"
        if reason:
            sample = dataclasses.replace(sample, kept=False, reason=reason)
        elif sample.kept:
            kept += 1
            seen.add(key)
        judged.append(sample)
    return judged


def dedupe_key(task: Task, sample: Sample, dedupe: str) -> object:
    """Returns what equal rationales of a question have in common.

    Args:
        task: task that lists the steps.
        sample: the sample.
        dedupe: "steps" for the ordered list of steps (Yuan et al., 2023), where the task knows
            them; else the text, white space at its ends apart.
    """
    listed = task.steps(sample.problem, sample.completion) if dedupe == "steps" else None
    return sample.completion.strip() if listed is None else listed


def failed(samples: Iterable[Sample]) -> list[str]:
    """Returns the ids of the questions to rationalize: none of their samples is right."""
    return [
        id_
        for id_, of_question in by_question(samples).items()
        if not any(sample.correct for sample in of_question)
    ]


def filter_samples(samples: Sequence[Sample], rationalized: Sequence[Sample]) -> list[Sample]:
    """Returns the samples that the round trains on: Algorithm 1's filter (lines 5 and 6).

    These are the kept ones of `samples`, then the kept ones of `rationalized` whose question failed
    without the hint. A rationalized sample is stored as if there had been no hint, with the prompt
    of the first attempt. Its field `hint` still says where it came from.

    Raises:
        ValueError: a phase has a sample twice, or a rationalized one has no first attempt.
    """
    for phase in (samples, rationalized):
        _check_unique(phase)
    first = {sample.id: sample for sample in samples}
    for sample in rationalized:
        if sample.id not in first:
            raise ValueError(
                f"rationalized sample {sample.id!r} has no sample without the hint in this round: "
                "the two files are of different runs"
            )
    retried = set(failed(samples))
    return [sample for sample in samples if sample.kept] + [
        dataclasses.replace(sample, prompt=first[sample.id].prompt)
        for sample in rationalized
        if sample.kept and sample.id in retried
    ]


def _check_unique(samples: Sequence[Sample]) -> None:
    seen: set[tuple[str, int]] = set()
    for sample in samples:
        if (key := (sample.id, sample.sample)) in seen:
            raise ValueError(
                f"two samples of one round have the id {sample.id!r}: the task's ids must be unique"
            )
        seen.add(key)


def union(task: Task, rounds: Iterable[Sequence[Sample]], dedupe: str) -> list[Sample]:
    """Returns what several rounds have kept, each rationale of a question once, the earliest first.

    Args:
        task: task that lists the steps.
        rounds: kept samples of each round, in order.
        dedupe: as in `dedupe_key`; with "none" only equal texts count as one.
    """
    seen: set[tuple[str, object]] = set()
    joined = []
    for sample in (sample for kept in rounds for sample in kept):
        key = (sample.id, dedupe_key(task, sample, dedupe))
        if key not in seen:
            seen.add(key)
            joined.append(sample)
    return joined
