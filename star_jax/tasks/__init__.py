"""The tasks a model can teach itself: one file a task, named in one table."""

import difflib

from star_jax.tasks.arithmetic import Arithmetic
from star_jax.tasks.task import Problem, Task

TASKS = {"arithmetic": Arithmetic}


def make(name: str, **settings: int) -> Task:
    """The task called `name`, with its own settings as keyword arguments.

    Raises:
        ValueError: no task has that name, or a setting is out of its range.
    """
    if name not in TASKS:
        nearest = difflib.get_close_matches(name, TASKS, n=1)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else "."
        raise ValueError(f"no task is called {name!r}{hint} The tasks are: {', '.join(TASKS)}")
    return TASKS[name](**settings)


__all__ = ["TASKS", "Arithmetic", "Problem", "Task", "make"]
