"""Generated text -> answer -> right or wrong, on the host. This is the definition of right.

There are two rules. The exact one is the data set's own (`Task.answer`), the flexible one takes the
last number, or the choice by its letter or text (`Task.flexible`). Both are recorded for every
sample; `config.grading` says which one counts. There is no partial credit.
"""

from dataclasses import dataclass
from typing import Literal

from star_jax.tasks.answer_rule import first_line
from star_jax.tasks.task import Problem, Task

Rule = Literal["exact", "flexible"]


@dataclass(frozen=True)
class Verdict:
    """What a completion was found to say.

    Attributes:
        completion: what counts of the text: see `Ending.cut`; of a direct answer its first line, if
            that is an answer.
        truncated: the completion hit the budget before its end.
        predicted: its canonical answer by the rule that counts; None where it has none.
        correct: whether that is the gold answer of a completion that came to its end.
        exact: the same by the exact rule.
        flexible: the same by the flexible rule.
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
        task: it extracts the answer.
        problem: it holds the gold answer.
        completion: the generated text, without the end-of-text token.
        truncated: the text hit the budget. It is never right if the completion has not ended
            before: where it breaks off, the number so far may be the head of a longer one.
        direct: the completion is an answer without a rationale.
        rule: the one that counts.
    """
    whole = completion
    completion = _direct(task, whole) if direct else task.ending().cut(whole)
    truncated = truncated and completion == whole
    found = {
        "exact": task.direct_answer(completion) if direct else task.answer(completion),
        "flexible": task.flexible(problem, completion),
    }
    right = {name: answer == problem.answer and not truncated for name, answer in found.items()}
    return Verdict(completion, truncated, found[rule], right[rule], **right)


def _direct(task: Task, text: str) -> str:
    """The completion in a text that should be an answer alone."""
    start = len(text) - len(text.lstrip())
    line = text[: start + len(first_line(text[start:]))]
    whole = line == text or task.direct_answer(line) is None
    return task.ending().cut(text) if whole else line.rstrip()
