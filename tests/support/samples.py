"""Samples without a model: gold rationales as if a model had written them."""

import dataclasses
from typing import Any

from star_jax.data.sample import Sample
from star_jax.tasks import Problem, Task


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
