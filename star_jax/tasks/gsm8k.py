"""GSM8K (Cobbe et al., 2021): word problems of grade school, solved in steps.

    Q: Ken had 3 boxes of 12 eggs and sold 6 eggs. How many are left?
    A: Ken had 3*12 = <<3*12=36>>36 eggs.
    He has 36-6 = <<36-6=30>>30 left.
    #### 30

The text in << >> is a calculator annotation. The hint is nothing but the answer in parentheses
after the question. A problem's class is the number of lines of its gold solution, "1" to "8" and
"9+".
"""

import functools
import hashlib
from collections.abc import Sequence
from typing import ClassVar

from star_jax.tasks import leaks, number_text, splits
from star_jax.tasks.answer_rule import AnswerRule, Ending, finds_as
from star_jax.tasks.dataset import DataSet
from star_jax.tasks.rows import Flaw, Row
from star_jax.tasks.task import Problem

_MARKER = "#### "
_MOST_STEPS = 9  # from here on, problems are one class

# The worked examples, rows of its train.jsonl: hashes of their questions (see `_fingerprint`).
_EXAMPLES = (
    "46d7f44c648c",  # ages, 2 steps
    "93f5cf27159d",  # a half and a multiple, 3 steps
    "06da1340e949",  # per cent, 3 steps
    "615c57bd5575",  # days of a week, 4 steps
    "ec42847a2f19",  # savings by the week, 4 steps
    "460089ede8dd",  # a unit price in cents, 5 steps
)


class GSM8K(DataSet):
    """GSM8K as a task; its rows have the fields `question` and `answer`."""

    name: ClassVar[str] = "gsm8k"
    unit: ClassVar[str] = "steps"

    def fields(self) -> Sequence[str]:
        """Returns the two fields of the published data."""
        return "question", "answer"

    def worked(self) -> Sequence[Problem]:
        """Returns six solved problems, always the same rows of the training split, of 2 to 5 steps.

        In data without those rows, the first rows are used instead.
        """
        return self._worked

    def prompt(self, problem: Problem, hint: bool) -> str:
        """The question up to "A:"; with `hint`, the answer follows it in parentheses."""
        return f"Q: {self.message(problem, hint)}\nA:"

    def message(self, problem: Problem, hint: bool) -> str:
        """The question; with `hint`, the answer follows it in parentheses."""
        return f"{problem.question} ({problem.answer})" if hint else problem.question

    def completion(self, rationale: str, answer: str) -> str:
        """The solution, then "#### " and the answer on a line of their own."""
        return f" {rationale}\n{_MARKER}{answer}" if rationale else f" {_MARKER}{answer}"

    def direct(self, problem: Problem) -> str:
        """The number alone."""
        return f" {problem.answer}"

    def ending(self) -> Ending:
        """Returns the ending after the first "#### " with a number, or before the next question."""
        if not finds_as(GSM8K, self):
            return super().ending()
        return Ending(_MARKER, number=True, openings=self.openings)

    def answer(self, completion: str) -> str | None:
        """Returns the canonical number after the first "#### "; None if there is none.

        The rule is the data set's own with two changes. The number may have a "$" before it. Text
        that is a number only in part (1/2, 1,2, 3x4) gives None.
        """
        _, marker, rest = completion.partition(_MARKER)
        return number_text.leading(rest) if marker else None

    def byte_rule(self) -> AnswerRule | None:
        """Returns the rule of `answer` for a device; None for a class that finds answers itself."""
        if not finds_as(GSM8K, self):
            return None
        return AnswerRule("number first", _MARKER, first=True, ending=self.ending())

    def direct_answer(self, completion: str) -> str | None:
        """The number that is the whole completion, canonical; None for anything else."""
        return number_text.canonical(completion)

    def flexible(self, problem: Problem, completion: str) -> str | None:
        """The last number in the text, canonical; None where there is none."""
        del problem
        return number_text.last(completion)

    def leaks(self, problem: Problem, completion: str) -> list[str]:
        """Returns the kinds of `leaks.leaks`, and "from nowhere".

        The hint is the answer itself, so there is no mark. "from nowhere": the number after the
        marker is in none of the lines before it, so it can only come from the hint. That is so in
        24 of the 8,792 gold solutions, by slips and in cents.
        """
        kinds = leaks.leaks(completion, marks=(), answers=(problem.answer,))
        steps, marker, _ = completion.rpartition(_MARKER)
        underived = marker and problem.answer not in number_text.every(steps)
        return [*kinds, "from nowhere"] if underived else kinds

    @functools.cached_property
    def _worked(self) -> list[Problem]:
        rows = self.all_of_train
        by_fingerprint = {_fingerprint(problem): problem for problem in rows}
        examples = [by_fingerprint[key] for key in _EXAMPLES if key in by_fingerprint]
        rest = [problem for problem in rows if problem not in examples]
        return (examples + rest)[: len(_EXAMPLES)]

    def problem(self, split: str, row: Row) -> Problem | Flaw:
        """Returns the problem in a row, or the row's flaw."""
        question, solution = (_text(row, name) for name in ("question", "answer"))
        if not question:
            return Flaw(row.line, "no question", 'no text in "question"')
        steps, marker, _ = solution.rpartition(_MARKER)
        if not marker:
            return Flaw(row.line, "no answer", f'"answer" has no line that begins with {_MARKER!r}')
        if _MARKER in steps:
            return Flaw(row.line, "bad answer", f"{_MARKER!r} twice: two answers to one question")
        answer = self.answer(solution)
        if answer is None:
            return Flaw(row.line, "bad answer", f"no number in {solution[len(steps) :]!r}")
        # A blank line separates examples, so it would end the completion.
        lines = [line.strip() for line in steps.splitlines() if line.strip()]
        group = str(len(lines)) if len(lines) < _MOST_STEPS else f"{_MOST_STEPS}+"
        return Problem(f"{split}-{row.line}", question, answer, "\n".join(lines), group)


def _text(row: Row, name: str) -> str:
    value = row.values.get(name)
    return value.strip() if isinstance(value, str) else ""


def _fingerprint(problem: Problem) -> str:
    return hashlib.sha256(splits.key(problem).encode()).hexdigest()[:12]
