"""Every setting of a run: its default, what it means, and which values it allows.

A config file changes some of `defaults()`, the command line changes some more, and `from_config`
turns the outcome into frozen dataclasses, once. What it refuses, it refuses all at once.
"""

import dataclasses
import difflib
from collections.abc import Callable, Mapping
from typing import Any

from ml_collections import ConfigDict

from star_jax.allowed import Allowed


class SettingsError(ValueError):
    """Settings no run can have; one line per problem, each naming the setting."""


def _number(default: float, interval: str, meaning: str, also: float | None = None) -> Any:
    return _field(default, Allowed(type(default), interval, also), meaning)


def _choice(default: str, choices: tuple[str, ...], meaning: str) -> Any:
    return _field(default, Allowed(str, choices=choices), meaning)


def _switch(default: bool, meaning: str) -> Any:
    return _field(default, Allowed(bool), meaning)


def _field(default: object, allowed: Allowed, meaning: str) -> Any:
    return dataclasses.field(default=default, metadata={"allowed": allowed, "help": meaning})


@dataclasses.dataclass(frozen=True)
class Task:
    """The problems."""

    name: str = _choice("arithmetic", ("arithmetic",), "which task")
    min_digits: int = _number(1, "[1, 20]", "fewest digits of a number to add")
    max_digits: int = _number(5, "[1, 20]", "most digits of a number to add in training")
    ood_digits: int = _number(10, "[0, 40]", "most digits out of distribution; 0 = none")


@dataclasses.dataclass(frozen=True)
class Model:
    """The decoder."""

    layers: int = _number(4, "[1, 200]", "decoder blocks")
    width: int = _number(128, "[1, 65536]", "features of the residual stream")
    heads: int = _number(4, "[1, 512]", "attention heads")
    head_dim: int = _number(32, "[1, 1024]", "features of a head")
    hidden: int = _number(512, "[1, 524288]", "features inside the MLP")
    rotary: int = _number(16, "[0, 1024]", "features of a head that are rotated by position")
    context: int = _number(1024, "[16, 1048576]", "longest sequence, in tokens")
    dtype: str = _choice("float32", ("float32", "bfloat16"), "computation; weights are float32")


@dataclasses.dataclass(frozen=True)
class Pretrain:
    """The base model, made from a corpus of scratchpads."""

    base: str = _field("", Allowed(str), "folder of a run whose base model to take instead")
    steps: int = _number(600, "[0, inf)", "updates")
    warmup_steps: int = _number(50, "[0, inf)", "updates until the full learning rate")
    learning_rate: float = _number(2e-3, "(0, 10]", "Adam's highest; a cosine down from there")
    examples: int = _number(20000, "[1, inf)", "examples in the corpus")
    hinted: float = _number(0.7, "[0, 1]", "share of the examples that have a hint")
    easy: float = _number(0.5, "[0, 1]", "share of those without that carry nothing")
    shots: int = _number(1, "[1, 100]", "most examples in a document")
    batch_size: int = _number(16, "[1, 65536]", "packed sequences in an update")
    length: int = _number(256, "[16, 1048576]", "tokens in a packed sequence")
    micro_batch: int = _number(4, "[0, 65536]", "sequences a device works on at a time; 0 = all")
    clip: float = _number(1.0, "(0, inf)", "largest norm of a gradient")
    b2: float = _number(0.95, "[0, 1)", "Adam's decay of the second moment")
    save_every: int = _number(100, "[1, inf)", "updates between checkpoints")


@dataclasses.dataclass(frozen=True)
class FewShot:
    """The worked examples before a question."""

    examples: int = _number(0, "[0, 100]", "worked examples of each class; 0 = no prompt")
    rounds: int = _number(1, "[0, inf)", "first rounds that use them")


@dataclasses.dataclass(frozen=True)
class Sampler:
    """How rationales are decoded."""

    rows: int = _number(512, "[1, 65536]", "questions decoded at a time")
    temperature: float = _number(0.0, "[0, 10]", "0 = greedy")
    top_k: int = _number(0, "[0, inf)", "sample from so many likeliest tokens; 0 = all")
    top_p: float = _number(1.0, "(0, 1]", "sample from the likeliest tokens of this mass")
    max_new_tokens: int = _number(0, "[0, 1048576]", "longest completion; 0 = as the task needs")


@dataclasses.dataclass(frozen=True)
class Rationalize:
    """A second try, with the answer as a hint, at what failed."""

    enabled: bool = _switch(True, "whether to try again")
    rehearsal: float = _number(0.0, "[0, 1]", "share of what is kept trained on with its hint too")


@dataclasses.dataclass(frozen=True)
class Rounds:
    """The outer loop."""

    count: int = _number(8, "[0, 1000]", "most rounds")
    problems: int = _number(2000, "[1, inf)", "training problems a round")
    patience: int = _number(0, "[0, 1000]", "stop after so many rounds without gain; 0 = never")


@dataclasses.dataclass(frozen=True)
class Train:
    """Fine-tuning, from the base weights in every round."""

    first_steps: int = _number(40, "[1, inf)", "updates in the first round")
    growth: float = _number(1.2, "[1, 10]", "factor on the updates from round to round")
    max_steps: int = _number(8000, "[1, inf)", "most updates in a round")
    batch_size: int = _number(16, "[1, 65536]", "packed sequences in an update")
    length: int = _number(256, "[16, 1048576]", "tokens in a packed sequence")
    micro_batch: int = _number(4, "[0, 65536]", "sequences a device works on at a time; 0 = all")
    learning_rate: float = _number(1e-3, "(0, 10]", "Adam's highest")
    schedule: str = _choice("constant", ("constant", "cosine"), "learning rate after the warm-up")
    warmup_steps: int = _number(20, "[0, inf)", "updates until the full learning rate")
    clip: float = _number(1.0, "(0, inf)", "largest norm of a gradient")
    weight_decay: float = _number(0.0, "[0, 10]", "decoupled, as in AdamW")
    b1: float = _number(0.9, "[0, 1)", "Adam's decay of the first moment")
    b2: float = _number(0.999, "[0, 1)", "Adam's decay of the second moment")
    save_every: int = _number(100, "[1, inf)", "updates between checkpoints")


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """The held-out problems."""

    problems: int = _number(100, "[1, inf)", "of each class")
    ood_problems: int = _number(20, "[1, inf)", "of each class out of distribution")


@dataclasses.dataclass(frozen=True)
class Mesh:
    """The devices along each axis; -1 = the rest of them."""

    data: int = _number(-1, "[1, inf)", "whole copies of the weights", also=-1)
    fsdp: int = _number(1, "[1, inf)", "shards of the weights, batch split too", also=-1)
    tensor: int = _number(1, "[1, inf)", "shards of the heads and of the MLP", also=-1)


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything that decides how a run goes."""

    seed: int = _number(0, "[0, 2147483647]", "of all randomness")
    method: str = _choice(
        "rationale", ("rationale", "direct"), "what is learned; 'direct' = gold answers alone"
    )
    task: Task = Task()
    model: Model = Model()
    pretrain: Pretrain = Pretrain()
    few_shot: FewShot = FewShot()
    sampler: Sampler = Sampler()
    rationalize: Rationalize = Rationalize()
    rounds: Rounds = Rounds()
    train: Train = Train()
    evaluate: Evaluate = Evaluate()
    mesh: Mesh = Mesh()


@dataclasses.dataclass(frozen=True)
class _Rule:
    """What settings owe each other; the first path is the one to blame."""

    paths: tuple[str, ...]
    holds: Callable[..., bool]  # of the values at `paths`
    must: str  # formatted with the values at `paths`


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

# Every setting by its path, as in 'train.clip'; its metadata holds 'allowed' and 'help'.
SETTINGS: dict[str, dataclasses.Field[Any]] = {
    field.name: field for field in dataclasses.fields(Settings) if field.name not in SECTIONS
} | {
    f"{name}.{field.name}": field
    for name, section in SECTIONS.items()
    for field in dataclasses.fields(section)
}

_RULES = (
    _at_most("task.min_digits", "task.max_digits"),
    _Rule(
        ("task.ood_digits", "task.max_digits"),
        lambda beyond, most: beyond == 0 or beyond > most,
        "must be 0 (none) or above task.max_digits = {1}",
    ),
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
    _sampling("sampler.top_k", 0),
    _sampling("sampler.top_p", 1),
    _at_most("sampler.max_new_tokens", "model.context"),
    _at_most("train.first_steps", "train.max_steps"),
    _at_most("train.length", "model.context"),
    _Rule(
        ("mesh.data", "mesh.fsdp", "mesh.tensor"),
        lambda *sizes: sizes.count(-1) <= 1,
        "only one of mesh.data, mesh.fsdp, mesh.tensor can be -1",
    ),
)


def defaults() -> ConfigDict:
    """All settings at their defaults: nested, type-safe, and locked against new names."""
    return ConfigDict(to_dict(Settings())).lock()


def from_config(config: ConfigDict) -> Settings:
    """Validates a config; what it leaves out keeps its default.

    Raises:
      SettingsError: names that do not exist, values of a wrong type or out of range, and values
        that contradict each other; every problem of the config at once.
    """
    if not isinstance(config, ConfigDict):
        raise SettingsError(f"the config is {config!r}, not a ConfigDict")
    given = _flatten(config.to_dict())
    problems = {path: text for path, value in given.items() if (text := problem(path, value))}
    values = _flatten(to_dict(Settings()))
    values |= {
        path: SETTINGS[path].metadata["allowed"].kind(given[path])
        for path in given
        if path not in problems
    }
    conflicts = [
        f"config.{rule.paths[0]} = {used[0]!r}: {rule.must.format(*used)}"
        for rule in _RULES
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
    """The settings as nested plain values, fit for JSON."""
    return dataclasses.asdict(settings)


def differences(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """Says where the settings `a` of a run folder differ from the settings `b` of this run.

    Args:
      a: what `to_dict` gave when the folder was made.
      b: what it gives now.

    Returns: one phrase a setting, as in 'train.clip: 1.0 in the folder, 2.0 now'.
    """
    old, new = ({path: repr(v) for path, v in _flatten(settings).items()} for settings in (a, b))
    return [
        f"{path}: {old.get(path, 'absent')} in the folder, {new.get(path, 'absent')} now"
        for path in old | new
        if old.get(path) != new.get(path)
    ]


def problem(path: str, value: object) -> str | None:
    """What is wrong with setting `path` (as in 'train.clip') to `value` by itself, if anything."""
    if path in SECTIONS:
        return f"config.{path} = {value!r}: is a section; set what is in it: {_names_in(path)}"
    if path not in SETTINGS:
        return f"config.{path}: no such setting; {_nearest(path)}"
    allowed: Allowed = SETTINGS[path].metadata["allowed"]
    return None if allowed.admits(value) else f"config.{path} = {value!r}: must be {allowed}"


def _nearest(path: str) -> str:
    """Points from a name that does not exist to the one that was probably meant."""
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
    """Nested values by path: {'train': {'clip': 1.0}} -> {'train.clip': 1.0}."""
    flat = {}
    for name, value in values.items():
        nested = isinstance(value, Mapping)
        flat |= _flatten(value, f"{prefix}{name}.") if nested else {f"{prefix}{name}": value}
    return flat
