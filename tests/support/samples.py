"""Samples of a ledger, made up."""

import dataclasses
from typing import Any

from star_jax.data.sample import Sample


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
