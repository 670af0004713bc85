"""Parses the command line of `star_jax.main`, with plain error messages."""

import difflib
import itertools
import os
import pathlib
import re
import sys
import textwrap
import traceback
from collections.abc import Iterator, Sequence
from typing import NoReturn

from absl import flags

from star_jax.config import validation
from star_jax.config.validation import SettingsError

_HELP = """\
STaR: a language model that teaches itself to reason.

usage: python -m star_jax.main --config=FILE [--workdir=FOLDER] [--config.NAME=VALUE ...]
                               [--coordinator=HOST:PORT --processes=N --process=I]

  --config       the experiment: a Python file with get_config(), as in configs/;
                 FILE:VARIANT chooses one of those that it lists
  --workdir      the run's folder; the same command goes on with what is in it
                 (default: runs/ and the name of the config file)
  --config.NAME  changes one setting of the experiment
  --coordinator, --processes, --process
                 one run over several hosts: the same command in N processes, numbered
                 I = 0..N-1, process 0 at HOST:PORT. All share one workdir (a shared
                 filesystem or gs://). Leave them out on TPU pods, GKE, SLURM and
                 Open MPI, where they are found out

examples:
  python -m star_jax.main --config=configs/arithmetic.py
  python -m star_jax.main --config=configs/arithmetic.py --workdir=runs/short \\
      --config.rounds.count=2 --config.train.learning_rate=3e-4 --config.rationalize.enabled=false
"""
_PATHS = ("config", "workdir", "model")  # flags in which a path may begin with ~


def parse(argv: Sequence[str], help: str = _HELP) -> list[str]:
    """Parses the flags, as the `flags_parser` of `absl.app.run`.

    --help ends the program with status 0. An error in the flags or in the config file is printed
    without a traceback, and ends the program with status 2.

    Args:
      argv: the program's name and its arguments.
      help: text that --help prints first.

    Returns:
      The program's name, alone.
    """
    argv = [_at_home(argument) for argument in argv]
    names = {argument.lstrip("-") for argument in argv[1:] if argument.startswith("-")}
    if names & {"help", "helpshort", "helpfull", "h", "?"}:
        print(help_text(help, full="helpfull" in names))
        sys.exit(0)
    arguments = list(argv[1:])
    try:
        arguments = flags.FLAGS.read_flags_from_files(arguments, force_gnu=False)
        check_file(arguments)
        check_overrides(arguments)
        rest = flags.FLAGS(list(argv))
        if len(rest) > 1:
            raise SettingsError(f"{rest[1]}: not a flag; settings are --config.NAME=VALUE")
        return rest
    except SettingsError as error:
        refuse(error)
    except Exception as error:  # a config file is a program: it can fail in any way
        refuse(blame(error, _config_file(arguments) or ""))


def refuse(problem: object, status: int = 2) -> NoReturn:
    """Prints `problem` to stderr, and ends the program with `status`."""
    print(problem, file=sys.stderr)
    sys.exit(status)


def help_text(head: str = _HELP, *, full: bool) -> str:
    """Returns the help: flags and sections; with `full`, every setting and its range."""
    lines = ["settings:"]
    for section, kind in {"": validation.Settings, **validation.SECTIONS}.items():
        members = [path for path in validation.SETTINGS if path.rpartition(".")[0] == section]
        if section:
            lines.append(f"  {section + '.*':<14} {kind.__doc__}")
        if full or not section:
            lines += [_help_line(path, full) for path in members]
    if not full:
        lines.append("\n--helpfull lists all settings with their defaults and the values allowed.")
    return "\n".join([head, *lines])


def _help_line(path: str, full: bool) -> str:
    field = validation.SETTINGS[path]
    if not full:
        return f"  {path:<14} {field.metadata['help']}"
    head = f"{path}={field.default}"
    line = f"    {head:<28} {field.metadata['allowed']}: {field.metadata['help']}"
    return textwrap.fill(line, 118, subsequent_indent=" " * 33)


def check_file(arguments: Sequence[str]) -> None:
    """Refuses a command line without a config file, or with one that does not exist.

    Raises:
      SettingsError: naming the file, and the nearest one in its folder.
    """
    name = _config_file(arguments)
    if name is None:
        raise SettingsError("--config is missing; try --config=configs/arithmetic.py")
    path = pathlib.Path(name)
    if not path.is_file():
        files = [str(file) for file in sorted(path.parent.glob("*.py"))]
        close = difflib.get_close_matches(name, files, n=1) or files
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        raise SettingsError(f"--config={name}: no such file{hint}")


def check_overrides(arguments: Sequence[str]) -> None:
    """Refuses `--config.<path>=<value>` if there is no such setting or value.

    Runs before the flags are parsed: absl's own errors do not name the allowed values.

    Raises:
      SettingsError: names every unknown setting and impossible value among the arguments.
    """
    problems = []
    for negated, path, text in _overrides(arguments):
        field = validation.SETTINGS.get(path)
        allowed = field.metadata["allowed"] if field else None
        if negated and allowed and allowed.kind is not bool:
            problems.append(f"--noconfig.{path}: only a setting of true or false has a 'no' form")
        elif text is not None or not allowed or allowed.kind is not bool:
            value = allowed.read(text or "") if allowed else text
            problems.append(validation.problem(path, value))
    if any(problems):
        raise SettingsError("\n".join(filter(None, problems)))


def blame(error: BaseException, config_file: str) -> str:
    """Returns the message of an error, with the line of the config file that raised it, if any."""
    cause: BaseException | None = error
    while cause:  # absl and ml_collections wrap what a config file raises
        frames = traceback.extract_tb(cause.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == config_file]
        if isinstance(cause, SyntaxError) and cause.filename == config_file:
            lines.append(cause.lineno)
        if lines:
            return f"{config_file} line {lines[-1]}: {type(cause).__name__}: {cause}"
        cause = cause.__context__
    return str(error) if isinstance(error, flags.Error) else f"{config_file}: {error!r}"


def _at_home(argument: str) -> str:
    """Returns the argument with a ~ after "=", which shells leave, replaced by the home folder."""
    flag, path = argument.partition("=")[::2]
    return f"{flag}={os.path.expanduser(path)}" if flag.lstrip("-") in _PATHS else argument


def _config_file(arguments: Sequence[str]) -> str | None:
    """Returns the config file's path, without the ':VARIANT' that may follow it."""
    name = None
    for argument, following in _pairs(arguments):
        if match := re.fullmatch(r"--?config(=.*)?", argument):
            name = following if match[1] is None else match[1][1:]
    return name.partition(":")[0] if name else None


def _overrides(arguments: Sequence[str]) -> Iterator[tuple[bool, str, str | None]]:
    """Yields (negated by a 'no', setting's path, value's text or None) of every override."""
    for argument, following in _pairs(arguments):
        if match := re.fullmatch(r"--?(no)?config\.([^=]+)(=.*)?", argument, re.DOTALL):
            field = validation.SETTINGS.get(match[2])
            switch = field is not None and field.metadata["allowed"].kind is bool
            text = match[3][1:] if match[3] else None if switch else following
            yield bool(match[1]), match[2], text


def _pairs(arguments: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """Yields each argument with the next one, which is its value if it has no '='."""
    return itertools.zip_longest(arguments, arguments[1:])
