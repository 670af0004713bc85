"""One attempt at a problem: what was asked, what was written, how it was graded."""

from dataclasses import dataclass
from typing import Literal

from star_jax.tasks.task import Problem

Reason = Literal["kept", "wrong answer", "no answer", "truncated", "hint leak"]


@dataclass(frozen=True)
class Sample:
    """One generated rationale with its grade: one line of the ledger.

    Attributes:
        id, group, question, choices, answer: of the problem; `answer` is the gold answer.
        round: of Algorithm 1, from 1.
        hint: it was generated with the hint (rationalization).
        prompt: what the model continued, without the few-shot examples. Once kept, the prompt to
            train on, which never has the hint.
        completion: the generated text, without the end-of-text token and without what follows the
            answer (see `grading`).
        predicted: the canonical answer it gives, by the rule that counts; None where it gives none.
        correct: it came to its end and gives the gold answer, by the rule that counts.
        exact, flexible: the same by either rule (see `grading`).
        truncated: it hit the token budget.
        leaks: the ways in which it gives the hint away; [] without a hint.
        kept: it passes the filter.
        reason: "kept", or why it was dropped.
        wrong_step: its rationale has a wrong step; None where the task cannot know.
        tokens: number of generated tokens, end-of-text included.
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

    @property
    def problem(self) -> Problem:
        """What it answers; its gold rationale is not stored."""
        return Problem(self.id, self.question, self.answer, "", self.group, tuple(self.choices))
