"""Validates the settings that `config/schema.py` lists, and turns them into frozen dataclasses.

A config file changes some of `defaults()`, the command line changes some more, and `from_config`
validates the result once. Its error names every problem, not only the first.
"""

import dataclasses
import difflib
from collections.abc import Callable, Mapping
from typing import Any

from ml_collections import ConfigDict

from star_jax.config.schema import Allowed, Settings


class SettingsError(ValueError):
    """Settings no run can have; one line per problem, each naming the setting."""


@dataclasses.dataclass(frozen=True)
class _Rule:
    """A rule between settings.

    Attributes:
        paths: settings that the rule compares; messages name the first one.
        holds: function of the values at `paths`; returns whether the rule is kept.
        must: text of the message, formatted with the values at `paths`.
    """

    paths: tuple[str, ...]
    holds: Callable[..., bool]
    must: str


def _at_most(path: str, limit: str) -> _Rule:
    return _Rule(
        (path, limit), lambda value, most: value <= most, f"must be at most {limit} = {{1}}"
    )


def _multiple(path: str, parts: str) -> _Rule:
    # A mesh axis of -1 is known only once there are devices.
    return _Rule(
        (path, parts),
        lambda value, n: n < 0 or value % n == 0,
        f"must be a multiple of {parts} = {{1}}",
    )


def _sampling(path: str, neutral: float) -> _Rule:
    return _Rule(
        (path, "sampler.temperature"),
        lambda value, temperature: value == neutral or temperature > 0,
        "changes nothing at sampler.temperature = {1}; set that above 0 as well",
    )


SECTIONS: dict[str, type] = {
    field.name: type(field.default)
    for field in dataclasses.fields(Settings)
    if dataclasses.is_dataclass(field.default)
}


def _fused(path: str, needed: object, why: str) -> _Rule:
    """A rule that fixes a setting in mode "fused"."""
    return _Rule(
        (path, "mode"),
        lambda value, mode: mode != "fused" or value == needed,
        f"must be {needed!r} in mode 'fused': {why}",
    )


# Every setting by its path, as in 'train.clip'; its metadata holds 'allowed' and 'help'.
SETTINGS: dict[str, dataclasses.Field[Any]] = {
    field.name: field for field in dataclasses.fields(Settings) if field.name not in SECTIONS
} | {
    f"{name}.{field.name}": field
    for name, section in SECTIONS.items()
    for field in dataclasses.fields(section)
}

_RULES = (
    _Rule(
        ("task.data", "task.name", "task.module"),
        lambda data, name, module: bool(data or module) or name == "arithmetic",
        "must say where the data of {1} lies: a folder, a .jsonl file, tfds:NAME or hf:OWNER/NAME",
    ),
    _Rule(
        ("sampler.max_new_tokens", "task.name", "task.module"),
        lambda most, name, module: most > 0 or bool(module) or name == "arithmetic",
        "must be above 0: only arithmetic knows how long its answers are",
    ),
    _Rule(
        ("model.source", "task.name", "task.module"),
        lambda source, name, module: bool(source or module) or name == "arithmetic",
        "must name a pretrained model: only arithmetic has a corpus to make one from",
    ),
    _Rule(
        ("model.chat", "model.source"),
        lambda chat, source: bool(source) or not chat,
        "needs the tokenizer of a pretrained model: set model.source",
    ),
    *(
        _Rule(
            (path, "task.name", "task.module"),
            lambda count, name, module: count > 0 or bool(module) or name != "arithmetic",
            "must be above 0: there is no end of sums",
        )
        for path in ("rounds.problems", "evaluate.problems")
    ),
    _at_most("task.min_digits", "task.max_digits"),
    _Rule(
        ("task.ood_digits", "task.max_digits"),
        lambda beyond, most: beyond == 0 or beyond > most,
        "must be 0 (none) or above task.max_digits = {1}",
    ),
    _sampling("sampler.top_k", 0),
    _sampling("sampler.top_p", 1),
    _at_most("train.first_steps", "train.max_steps"),
    _Rule(
        ("train.few_shot", "rationalize.rehearsal"),
        lambda few_shot, rehearsal: not few_shot or rehearsal == 0,
        "cannot go with rationalize.rehearsal = {1}, whose examples have hints",
    ),
    _Rule(
        ("policy_refresh_every", "mode"),
        lambda every, mode: every == 0 or mode == "fused",
        "must be 0 in mode {1!r}: there the policy is the round's",
    ),
    _Rule(
        ("sampler.rows", "mode"),
        lambda rows, mode: mode != "fused" or rows > 0,
        "must be above 0 in mode 'fused': it is how many questions an update is of",
    ),
    _Rule(
        ("rationalize.rehearsal", "sampler.rows", "mode"),
        lambda share, rows, mode: mode != "fused" or share == 0 or not 0 < rows * share < 1,
        "is none of the sampler.rows = {1} questions of a step in mode 'fused'",
    ),
    _fused("method", "rationale", "it learns what it has written"),
    _fused("grading", "exact", "it grades on the device"),
    _fused("rationalize.drop_leaks", False, "it grades on the device"),
    _Rule(
        ("mesh.data", "mesh.fsdp", "mesh.tensor"),
        lambda *sizes: sizes.count(-1) <= 1,
        "only one of mesh.data, mesh.fsdp, mesh.tensor can be -1",
    ),
)

# Rules for a model that is trained from scratch; a pretrained model's config.json has its shape.
_MADE_RULES = (
    _Rule(
        ("model.width", "model.heads", "model.head_dim"),
        lambda width, heads, head_dim: width == heads * head_dim,
        "must be model.heads x model.head_dim = {1} x {2}",
    ),
    _Rule(("model.rotary",), lambda rotary: rotary % 2 == 0, "must be even"),
    _at_most("model.rotary", "model.head_dim"),
    _multiple("model.heads", "mesh.tensor"),
    _Rule(
        ("pretrain.warmup_steps", "pretrain.steps"),
        lambda warmup, steps: steps == 0 or warmup <= steps,
        "must be at most pretrain.steps = {1}",
    ),
    _at_most("pretrain.length", "model.context"),
    _at_most("sampler.max_new_tokens", "model.context"),
    _at_most("train.length", "model.context"),
)


def defaults() -> ConfigDict:
    """Returns all settings at their defaults: nested, type-safe, locked against new names."""
    return ConfigDict(to_dict(Settings())).lock()


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
        for rule in (*_RULES, *(() if values["model.source"] else _MADE_RULES))
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
