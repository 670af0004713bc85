"""Samples of a ledger, made up."""

import dataclasses
from typing import Any

from star_jax.data.sample import Sample
from star_jax.tasks import Problem, Task


def sample(id: str, *, correct: bool, hint: bool = False, **fields: Any) -> Sample:
    base = Sample(
        id=id,
        round=1,
        group="2",
        hint=hint,
        question=f"question {id}",
        choices=[],
        prompt=f"prompt {id}" + " with the hint" * hint,
        completion="rationale",
        predicted="1",
        answer="1" if correct else "2",
        correct=correct,
        exact=correct,
        flexible=correct,
        truncated=False,
        leaks=[],
        kept=correct,
        reason="kept" if correct else "wrong answer",
        wrong_step=False,
        tokens=7,
    )
    return dataclasses.replace(base, **fields)


def gold(task: Task, problem: Problem, round_: int = 1, **changes: Any) -> Sample:
    """The gold rationale of a problem as a kept rationalization, with some fields changed."""
    sample = Sample(
        id=problem.id,
        round=round_,
        group=problem.group,
        hint=True,
        question=problem.question,
        choices=list(problem.choices),
        prompt=task.prompt(problem, hint=True),
        completion=task.completion(problem.rationale, problem.answer),
        predicted=problem.answer,
        answer=problem.answer,
        correct=True,
        exact=True,
        flexible=True,
        truncated=False,
        leaks=[],
        kept=True,
        reason="kept",
        wrong_step=False,
        tokens=1,
    )
    return dataclasses.replace(sample, **changes)
