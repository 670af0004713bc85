"""One attempt at a problem: prompt, completion and grade."""

from dataclasses import dataclass
from typing import Literal

from star_jax.tasks.task import Problem

Reason = Literal[
    "kept", "wrong answer", "no answer", "truncated", "hint leak", "wrong step", "no checked step",
    "duplicate", "over the cap", "outvoted", "tied vote", "weak vote",
]  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """One generated rationale with its grade: one line of the ledger.

    Attributes:
        id, group, question, choices, answer: fields of the problem; `answer` is the gold answer.
        round: round of Algorithm 1, from 1.
        hint: whether the rationale was generated with the hint (rationalization).
        prompt: prompt that the model continued, without the few-shot prompt. If the sample is kept,
            it is the prompt to train on, which never has the hint.
        completion: generated text, without the end-of-text token and without the text after the
            answer (see `grading/grade.py`).
        predicted: canonical answer of the completion by the rule that counts; None if it has none.
        correct: whether the completion ended and has the gold answer, by the rule that counts.
        exact, flexible: the same as `correct`, by the exact and by the flexible rule.
        truncated: whether the completion reached max_new_tokens before its end.
        leaks: ways in which the completion gives the hint away; [] without a hint.
        kept: whether the sample passes the filter.
        reason: "kept", or the reason why the sample was dropped.
        wrong_step: whether the rationale has a wrong step; None if the task cannot tell.
        tokens: number of generated tokens, end-of-text included.
        sample: index among the question's samples of the phase, from 0.
        label: answer that it was kept or dropped by if the samples vote; None where the data's
            answer decides, or the vote has no winner.
    """

    id: str
    round: int
    group: str
    hint: bool
    question: str
    choices: list[str]
    prompt: str
    completion: str
    predicted: str | None
    answer: str
    correct: bool
    exact: bool
    flexible: bool
    truncated: bool
    leaks: list[str]
    kept: bool
    reason: Reason
    wrong_step: bool | None
    tokens: int
    sample: int = 0
    label: str | None = None

    @property
    def problem(self) -> Problem:
        """The problem that the sample answers; its rationale is "", as it is not stored."""
        return Problem(self.id, self.question, self.answer, "", self.group, tuple(self.choices))
