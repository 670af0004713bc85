"""Generated text -> answer -> right or wrong, on the host. This is the definition of right."""

from dataclasses import dataclass

from star_jax.tasks.task import Problem, Task


@dataclass(frozen=True)
class Verdict:
    """What a completion was found to say.

    Attributes:
        predicted: its canonical answer; None where it has none.
        correct: whether that is the gold answer of a completion that came to its end.
    """

    predicted: str | None
    correct: bool


def grade(
    task: Task, problem: Problem, completion: str, *, truncated: bool, direct: bool = False
) -> Verdict:
    """Grades one completion by the task's own rule: canonical answers are equal or they are not.

    Args:
        task: it extracts the answer.
        problem: it holds the gold answer.
        completion: the generated text, without the end-of-text token.
        truncated: the completion hit the budget. It is never right then: where it breaks off, the
            number so far may be the head of a longer one.
        direct: the completion is an answer without a rationale.
    """
    predicted = task.direct_answer(completion) if direct else task.answer(completion)
    return Verdict(predicted, correct=predicted == problem.answer and not truncated)
