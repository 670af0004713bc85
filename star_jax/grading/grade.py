"""Grades completions on the host: text -> answer -> right or wrong. This defines what is right.

There are two rules. The exact rule is the data set's own (`Task.answer`). The flexible rule takes
the last number, or the choice by its letter or text (`Task.flexible`). Both are recorded for every
sample; `config.grading` says which one counts. There is no partial credit.
"""

from dataclasses import dataclass
from typing import Literal

from star_jax.tasks.answer_rule import first_line
from star_jax.tasks.task import Problem, Task

Rule = Literal["exact", "flexible"]


@dataclass(frozen=True)
class Verdict:
    """The grade of a completion.

    Attributes:
        completion: part of the text that counts, as in `Ending.cut`; of a direct answer its first
            line, if that is an answer.
        truncated: True if the completion reached max_new_tokens before its end.
        predicted: canonical answer by the rule that counts; None if there is none.
        correct: True if the completion has ended and its answer is the gold answer.
        exact: `correct` by the exact rule.
        flexible: `correct` by the flexible rule.
    """

    completion: str
    truncated: bool
    predicted: str | None
    correct: bool
    exact: bool
    flexible: bool


def grade(
    task: Task,
    problem: Problem,
    completion: str,
    *,
    truncated: bool,
    direct: bool = False,
    rule: Rule = "exact",
) -> Verdict:
    """Grades one completion: canonical answers are equal or they are not.

    Args:
        task: task that extracts the answer.
        problem: problem with the gold answer.
        completion: generated text, without the end-of-text token.
        truncated: True if the text reached max_new_tokens. It is never right unless the completion
            ended before: a number at the cut may be the beginning of a longer one.
        direct: True if the completion is an answer without a rationale.
        rule: rule that counts.
    """
    text = completion
    completion = _direct(task, text) if direct else task.ending().cut(text)
    truncated = truncated and completion == text
    answers = {
        "exact": task.direct_answer(completion) if direct else task.answer(completion),
        "flexible": task.flexible(problem, completion),
    }
    right = {name: answer == problem.answer and not truncated for name, answer in answers.items()}
    return Verdict(
        completion=completion,
        truncated=truncated,
        predicted=answers[rule],
        correct=right[rule],
        **right,
    )


def _direct(task: Task, text: str) -> str:
    """Returns the completion in a text that should be an answer alone."""
    start = len(text) - len(text.lstrip())
    line = text[: start + len(first_line(text[start:]))]
    whole = line == text or task.direct_answer(line) is None
    return task.ending().cut(text) if whole else line.rstrip()
