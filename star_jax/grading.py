"""Generated text -> answer -> right or wrong, on the host. This is the definition of right.

There are two rules. The exact one is the data set's own (`Task.answer`), the flexible one takes the
last number, or the choice by its letter or text (`Task.flexible`). Both are recorded for every
sample; `config.grading` says which one counts. There is no partial credit.
"""

from dataclasses import dataclass
from typing import Literal

from star_jax.tasks.task import Problem, Task

Rule = Literal["exact", "flexible"]


@dataclass(frozen=True)
class Verdict:
    """What a completion was found to say.

    Attributes:
        predicted: its canonical answer by the rule that counts; None where it has none.
        correct: whether that is the gold answer of a completion that came to its end.
        exact: the same by the exact rule.
        flexible: the same by the flexible rule.
    """

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
        truncated: the completion hit the budget. It is never right then: where it breaks off, the
            number so far may be the head of a longer one.
        direct: the completion is an answer without a rationale.
        rule: the one that counts.
    """
    found = {
        "exact": task.direct_answer(completion) if direct else task.answer(completion),
        "flexible": task.flexible(problem, completion),
    }
    right = {name: answer == problem.answer and not truncated for name, answer in found.items()}
    return Verdict(found[rule], right[rule], **right)
