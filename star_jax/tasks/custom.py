"""Loads a task that is not part of star_jax from a Python file or module of the user's own.

Such a file is a program and is run as one, like a config file. Only the file that the user names in
the settings is loaded, never a file that comes with data.
"""

import importlib
import importlib.util
import os
import pathlib
import sys
import traceback
from types import ModuleType

from star_jax.tasks.answer_rule import Ending
from star_jax.tasks.task import Task

# Members that a class may leave out -> what is used instead.
_OPTIONAL = {
    "byte_rule": lambda self: None,
    "ending": lambda self: Ending(),
    "steps": lambda self, problem, completion: None,
}
MEMBERS = tuple(
    name
    for name in Task.__annotations__ | vars(Task)
    if not name.startswith("_") and name not in _OPTIONAL
)
"""The members that a task class must have, in the order of `Task`."""


def load(module: str) -> type:
    """Returns the task class that a file or a module defines.

    Inherited members count, except those of `Task` itself: a protocol's members are empty.

    Args:
        module: the path of a Python file ("my_task.py"), or a dotted name ("my_package.my_task").

    Raises:
        ValueError: the module does not exist, it fails, or it does not define exactly one class
            with all members of `Task`. The message names the file, the error and the remedy.
    """
    is_file = module.endswith(".py") or "/" in module
    module = os.path.expanduser(module) if is_file else module
    if is_file and not pathlib.Path(module).is_file():
        raise ValueError(f"{module}: no such file; give the path of the task's Python file")
    try:
        loaded = _run(pathlib.Path(module)) if is_file else importlib.import_module(module)
    except Exception as error:  # the user's program can fail in any way
        raise ValueError(_blame(error, module)) from error
    classes = [
        member
        for member in vars(loaded).values()
        if isinstance(member, type) and member.__module__ == loaded.__name__
    ]
    task = _only_task(classes, module)
    for name, default in _OPTIONAL.items():
        if not _has(task, name):
            setattr(task, name, default)
    return task


def _run(path: pathlib.Path) -> ModuleType:
    """Runs a file as a module, under a name that hides no other module."""
    name = f"_task_file_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError("the name of a Python file ends in .py")
    sys.modules[name] = module = importlib.util.module_from_spec(spec)  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def _only_task(classes: list[type], module: str) -> type:
    missing = {cls: [name for name in MEMBERS if not _has(cls, name)] for cls in classes}
    complete = [cls for cls in classes if not missing[cls]]
    if len(complete) == 1:
        return complete[0]
    if complete:
        names = " and ".join(cls.__name__ for cls in complete)
        raise ValueError(f"{module}: {names} are tasks; leave one, or put each in its own file")
    if not classes:
        raise ValueError(
            f"{module}: defines no class; write one with the members of star_jax.tasks.Task, or "
            "derive it from a task that is near to it, such as star_jax.tasks.jsonl.Jsonl"
        )
    nearest = min(classes, key=lambda cls: len(missing[cls]))
    raise ValueError(
        f"{module}: class {nearest.__name__} has no {', '.join(missing[nearest])}; write them as "
        "star_jax.tasks.Task describes them, or derive the class from a task that has them, such "
        "as star_jax.tasks.jsonl.Jsonl"
    )


def _has(cls: type, name: str) -> bool:
    return any(name in vars(base) for base in cls.__mro__ if base is not Task)


def _blame(error: Exception, module: str) -> str:
    """Returns a message that names the error and its line in the user's file."""
    path = pathlib.Path(module).absolute()
    if isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}."):
        return f"{module}: no such module; install it, or give its file's path, ending in .py"
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if pathlib.Path(frame.filename).absolute() == path
    ]
    if isinstance(error, SyntaxError) and error.filename == str(path):
        lines.append(error.lineno)
    line = f" line {lines[-1]}" if lines else ""
    return f"{module}{line}: {type(error).__name__}: {error}"
