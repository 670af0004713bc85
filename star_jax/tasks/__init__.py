"""The tasks a model can teach itself: one file a task, named in one table."""

import dataclasses
import difflib
import importlib
import inspect
import sys

from star_jax.config import schema
from star_jax.tasks import custom
from star_jax.tasks.arithmetic import Arithmetic
from star_jax.tasks.gsm8k import GSM8K
from star_jax.tasks.jsonl import Jsonl
from star_jax.tasks.multiple_choice.ai2_arc import Ai2Arc
from star_jax.tasks.multiple_choice.commonsense_qa import CommonsenseQA
from star_jax.tasks.multiple_choice.math_qa import MathQA
from star_jax.tasks.multiple_choice.openbookqa import OpenBookQA
from star_jax.tasks.task import Problem, Task

TASKS = {
    "arithmetic": Arithmetic,
    "gsm8k": GSM8K,
    "commonsense_qa": CommonsenseQA,
    "math_qa": MathQA,
    "ai2_arc": Ai2Arc,
    "openbookqa": OpenBookQA,
    "jsonl": Jsonl,
}

# Modules as custom tasks may still import them: the name before -> the name now.
_FORMER_NAMES = {
    "data_set": "dataset",
    "choices": "multiple_choice.text",
    "choice_rows": "multiple_choice.rows",
    **{
        name: f"multiple_choice.{name}"
        for name in ("ai2_arc", "commonsense_qa", "math_qa", "openbookqa", "science")
    },
}
for _before, _now in _FORMER_NAMES.items():
    globals()[_before] = importlib.import_module(f"{__name__}.{_now}")
    sys.modules[f"{__name__}.{_before}"] = globals()[_before]


def make(chosen: schema.Task) -> Task:
    """The task that `config.task` says, made with those of its settings that it has parameters for.

    Raises:
        ValueError: no task has that name, the module has none, or a setting is out of its range.
    """
    if chosen.name not in TASKS:
        nearest = difflib.get_close_matches(chosen.name, TASKS, n=1)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else "."
        raise ValueError(
            f"no task is called {chosen.name!r}{hint} The tasks are: {', '.join(TASKS)}"
        )
    kind = custom.load(chosen.module) if chosen.module else TASKS[chosen.name]
    given = dataclasses.asdict(chosen)
    return kind(
        **{name: given[name] for name in inspect.signature(kind).parameters if name in given}
    )


__all__ = ["TASKS", "Problem", "Task", "make"]
