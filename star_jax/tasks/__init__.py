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
from star_jax.tasks.multiple_choice.commonsense_qa import CommonsenseQA
from star_jax.tasks.multiple_choice.math_qa import MathQA
from star_jax.tasks.multiple_choice.science import Ai2Arc, OpenBookQA
from star_jax.tasks.symbolic.coin_flip import CoinFlip
from star_jax.tasks.symbolic.last_letters import LastLetters
from star_jax.tasks.task import Problem, Task

TASKS = {
    "arithmetic": Arithmetic,
    "last_letters": LastLetters,
    "coin_flip": CoinFlip,
    "gsm8k": GSM8K,
    "commonsense_qa": CommonsenseQA,
    "math_qa": MathQA,
    "ai2_arc": Ai2Arc,
    "openbookqa": OpenBookQA,
    "jsonl": Jsonl,
}

# Modules that custom tasks may import under a former name: former name -> present name.
_FORMER_NAMES = {
    "data_set": "dataset",
    "choices": "multiple_choice.text",
    "choice_rows": "multiple_choice.rows",
    "commonsense_qa": "multiple_choice.commonsense_qa",
    "math_qa": "multiple_choice.math_qa",
    "science": "multiple_choice.science",
    "ai2_arc": "multiple_choice.science",
    "openbookqa": "multiple_choice.science",
}
for _former, _present in _FORMER_NAMES.items():
    globals()[_former] = importlib.import_module(f"{__name__}.{_present}")
    sys.modules[f"{__name__}.{_former}"] = globals()[_former]


def make(cfg: schema.Task) -> Task:
    """Makes the task that `config.task` names, from those settings that its parameters name.

    Args:
        cfg: section `config.task`, which names the task and its settings.

    Raises:
        ValueError: no task has that name, the module has none, or a setting is out of its range.
    """
    if cfg.name not in TASKS:
        nearest = difflib.get_close_matches(cfg.name, TASKS, n=1)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else "."
        raise ValueError(f"no task is called {cfg.name!r}{hint} The tasks are: {', '.join(TASKS)}")
    kind = custom.load(cfg.module) if cfg.module else TASKS[cfg.name]
    values = dataclasses.asdict(cfg)
    return kind(
        **{name: values[name] for name in inspect.signature(kind).parameters if name in values}
    )


__all__ = ["TASKS", "Problem", "Task", "make"]
