"""Validates the settings that `config/schema.py` lists, and turns them into frozen dataclasses.

A config file changes some of `defaults()`, the command line changes some more, and `from_config`
validates the result once. Its error names every problem, not only the first.
"""

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from star_jax.config.rules import MADE_RULES, RULES, SOURCE_RULES
from star_jax.config.schema import SECTIONS, SETTINGS, Allowed, Settings

MOVED = {"rationalize.drop_leaks": "filter.leaks"}  # former name of a setting -> its name
# Settings without effect on a run that begins with a finished model -> their defaults.
_UNUSED = {rule.paths[0]: SETTINGS[rule.paths[0]].default for rule in SOURCE_RULES}


class SettingsError(ValueError):
    """Settings no run can have; one line per problem, each naming the setting."""


def defaults() -> ConfigDict:
    """Returns all settings at their defaults: nested, type-safe, locked against new names."""
    return ConfigDict(to_dict(Settings())).lock()


def set_source(config: ConfigDict, source: str) -> None:
    """Sets `model.source`, and resets the settings of a model that a run would make instead."""
    config.update_from_flattened_dict({"model.source": source, **_UNUSED})


def from_config(config: ConfigDict) -> Settings:
    """Validates a config; settings that it leaves out keep their defaults.

    Raises:
      SettingsError: names that do not exist, values of a wrong type or out of range, and values
        that contradict each other; every problem of the config at once.
    """
    if not isinstance(config, ConfigDict):
        raise SettingsError(f"the config is {config!r}, not a ConfigDict")
    changed = _flatten(config.to_dict())
    problems = {path: text for path, value in changed.items() if (text := problem(path, value))}
    values = _flatten(to_dict(Settings()))
    values |= {
        path: SETTINGS[path].metadata["allowed"].kind(changed[path])
        for path in changed
        if path not in problems
    }
    conflicts = [
        f"config.{rule.paths[0]} = {used[0]!r}: {rule.must.format(*used)}"
        for rule in (*RULES, *(SOURCE_RULES if values["model.source"] else MADE_RULES))
        if problems.keys().isdisjoint(rule.paths)
        and not rule.holds(*(used := [values[path] for path in rule.paths]))
    ]
    if problems or conflicts:
        raise SettingsError("\n".join([*problems.values(), *conflicts]))
    whole = {path: value for path, value in values.items() if "." not in path}
    for name, section in SECTIONS.items():
        names = [field.name for field in dataclasses.fields(section)]
        whole[name] = section(**{key: values[f"{name}.{key}"] for key in names})
    return Settings(**whole)


def to_dict(settings: Settings) -> dict[str, Any]:
    """Returns the settings as nested plain values, fit for JSON."""
    return dataclasses.asdict(settings)


def upgrade(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Returns settings that any version has stored, as this version would store them.

    Settings that are newer than the folder get their defaults, which change nothing. So do those of
    a model made in the run, if it began with a finished one: older versions let them be set.
    """
    values = _flatten(to_dict(Settings()))
    values |= {MOVED.get(path, path): value for path, value in _flatten(stored).items()}
    values |= _UNUSED if values["model.source"] else {}
    nested: dict[str, Any] = {}
    for path, value in values.items():
        section, _, name = path.rpartition(".")
        (nested.setdefault(section, {}) if section else nested)[name] = value
    return nested


def differences(
    a: dict[str, Any], b: dict[str, Any], *, where: tuple[str, str] = ("in the folder", "now")
) -> list[str]:
    """Returns how the settings `a` of a run folder differ from the settings `b` of this run.

    Args:
      a: result of `to_dict` when the folder was created.
      b: result of `to_dict` now.
      where: phrases for `a` and for `b` in the result.

    Returns:
      One phrase a setting, as in 'train.clip: 1.0 in the folder, 2.0 now'.
    """
    old, new = ({path: repr(v) for path, v in _flatten(settings).items()} for settings in (a, b))
    return [
        f"{path}: {old.get(path, 'absent')} {where[0]}, {new.get(path, 'absent')} {where[1]}"
        for path in old | new
        if old.get(path) != new.get(path)
    ]


def problem(path: str, value: object) -> str | None:
    """Returns the error of setting `path` (as in 'train.clip') to `value` alone; None if fine."""
    if path in SECTIONS:
        return f"config.{path} = {value!r}: is a section; set what is in it: {_names_in(path)}"
    if path not in SETTINGS:
        return f"config.{path}: no such setting; {_nearest(path)}"
    allowed: Allowed = SETTINGS[path].metadata["allowed"]
    return None if allowed.admits(value) else f"config.{path} = {value!r}: must be {allowed}"


def _nearest(path: str) -> str:
    """Returns a hint at the setting that was probably meant by a name that does not exist."""
    if path in MOVED:
        return f"it is 'config.{MOVED[path]}' now"
    section, _, name = path.rpartition(".")
    names = [known.removeprefix(f"{section}.") for known in SETTINGS if section in SECTIONS]
    close = difflib.get_close_matches(name, [known for known in names if "." not in known], n=1)
    if close:
        return f"did you mean 'config.{section}.{close[0]}'?"
    close = [known for known in SETTINGS if known.rpartition(".")[2] == name]
    if not close and section not in SECTIONS:
        close = difflib.get_close_matches(path, SETTINGS, n=1)
    if close:
        return "did you mean " + " or ".join(f"'config.{known}'" for known in close) + "?"
    return f"config{f'.{section}' if section in SECTIONS else ''} has {_names_in(section)}"


def _names_in(section: str) -> str:
    kind = SECTIONS.get(section, Settings)
    return ", ".join(field.name for field in dataclasses.fields(kind))


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns nested values by path: {'train': {'clip': 1.0}} -> {'train.clip': 1.0}."""
    flat = {}
    for name, value in values.items():
        nested = isinstance(value, Mapping)
        flat |= _flatten(value, f"{prefix}{name}.") if nested else {f"{prefix}{name}": value}
    return flat


def check_samples(settings: Settings, samples: int) -> None:
    """Refuses to draw several samples a question that would all be the same.

    Raises:
        SettingsError: the temperature is 0.
    """
    if samples > 1 and settings.sampler.temperature == 0:
        raise SettingsError(
            f"--samples={samples}: all would be the same; set --config.sampler.temperature=0.7"
        )
