"""What config.json of a Hugging Face model says, aspect by aspect, and how to say it again.

A config is read by an allow-list: `Fields` counts which keys were looked at, and a model with a key
left over is refused, because nobody knows what that key does to the computation.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from star_jax.models.config import ModelConfig


class FamilyError(ValueError):
    """A model that would not be computed as its authors meant; the message names the key."""


class Fields:
    """The keys of one config.json that nobody has looked at yet.

    Args:
        values: key -> value; is copied.
        where: the file, for messages.
    """

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self._left = dict(values)
        self.where = where

    def refuse(self, key: str, value: Any, why: str) -> FamilyError:
        """The error to raise for a key."""
        return FamilyError(f"{self.where}: {key} = {value!r}: {why}")

    def take(self, key: str, default: Any = None) -> Any:
        """The value as it is; `default` if there is none."""
        return self._left.pop(key, default)

    def number(self, key: str, default: float | None = None) -> float:
        """A number above zero, or `default`, which must then be one."""
        value = self.take(key, default)
        if value is None:
            raise FamilyError(f"{self.where}: no {key!r}; take the config.json of the model whole")
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 < value < math.inf:
            raise self.refuse(key, value, "must be a number above 0")
        return value

    def size(self, key: str, default: int | None = None) -> int:
        """A whole number above zero, or `default`."""
        value = self.number(key, default)
        if not isinstance(value, int):
            raise self.refuse(key, value, "must be a whole number")
        return value

    def size_or_null(self, key: str, default: int | None) -> int | None:
        """A whole number above zero, or null; `default` if there is none."""
        value = self.take(key, default)
        return None if value is None else Fields({key: value}, self.where).size(key)

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self.take(key, default)
        if not isinstance(value, bool):
            raise self.refuse(key, value, "must be true or false")
        return value

    def table(self, key: str) -> dict[str, Any]:
        """A copy of an object; empty if there is none."""
        value = self.take(key)
        if value is not None and not isinstance(value, dict):
            raise self.refuse(key, value, "must be an object")
        return dict(value or {})

    def settle(self, neutral: Mapping[str, tuple[Any, ...]], ignored: frozenset[str]) -> None:
        """Refuses what is left, but for ignored keys and those at a value that changes nothing.

        Keys that begin with an underscore are transformers' notes on how a model came about; one
        that counts is taken by an aspect before. Names of tokens are nothing to the computation.

        Raises:
            FamilyError: names the first key, its value, and the values it may have.
        """
        for key, value in self._left.items():
            if key not in neutral and (key.startswith("_") or _names_a_token(key, value)):
                continue
            if key in neutral and value not in neutral[key]:
                known = " or ".join(map(repr, neutral[key]))
                raise self.refuse(key, value, f"is not implemented; only {known} is")
            if key not in neutral and key not in ignored:
                why = "is unknown here and may change the computation; remove it if it does not"
                raise self.refuse(key, value, why)


def _names_a_token(key: str, value: Any) -> bool:
    """As eos_token_id = 2 or pad_token = "<pad>" does, but not num_experts_per_token = 2."""
    named = key.endswith("_token") and isinstance(value, str | None)
    return named or key.endswith(("_token_id", "_token_ids"))


class FieldGroup(NamedTuple):
    """Some keys of a config.json that belong together.

    Attributes:
        read: takes its keys from the fields, given the ModelConfig fields found before it, and
            returns more of them.
        write: the keys of a ModelConfig.
    """

    read: Callable[[Fields, Mapping[str, Any]], dict[str, Any]]
    write: Callable[[ModelConfig], dict[str, Any]]


_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "silu": "silu",
    "swish": "silu",
    "relu": "relu",
}


def sizes(**keys: str) -> FieldGroup:
    """Sizes that must be there: key = ModelConfig field."""
    return FieldGroup(
        lambda fields, _: {field: fields.size(key) for key, field in keys.items()},
        lambda config: {key: getattr(config, field) for key, field in keys.items()},
    )


def epsilon(key: str, default: float) -> FieldGroup:
    """What is added to a variance."""
    return FieldGroup(
        lambda fields, _: {"norm_epsilon": float(fields.number(key, default))},
        lambda config: {key: config.norm_epsilon},
    )


def flags(key: str, default: bool, *fields_: str) -> FieldGroup:
    """One switch for several ModelConfig fields."""
    return FieldGroup(
        lambda fields, _: dict.fromkeys(fields_, fields.flag(key, default)),
        lambda config: {key: getattr(config, fields_[0])},
    )


def activation(key: str, default: str) -> FieldGroup:
    """The MLP's activation; `default` is also the name written for what it means."""

    def read(fields: Fields, _: Mapping[str, Any]) -> dict[str, Any]:
        name = fields.take(key, default)
        if name not in _ACTIVATIONS:
            raise fields.refuse(key, name, f"is not one of {', '.join(_ACTIVATIONS)}")
        return {"activation": _ACTIVATIONS[name]}

    def write(config: ModelConfig) -> dict[str, Any]:
        names = [default, "gelu_pytorch_tanh", *_ACTIVATIONS]
        return {key: next(name for name in names if _ACTIVATIONS[name] == config.activation)}

    return FieldGroup(read, write)


def inner(key: str) -> FieldGroup:
    """The feed-forward size, four times the width if it is null."""

    def read(fields: Fields, found: Mapping[str, Any]) -> dict[str, Any]:
        return {"hidden": fields.size_or_null(key, None) or 4 * found["width"]}

    return FieldGroup(read, lambda config: {key: config.hidden})


def heads(
    head_dim: bool = True, key_heads: int | None = None, size: int | None = None
) -> FieldGroup:
    """Size of a head and number of key heads.

    Args:
        head_dim: whether the family knows the key at all; otherwise heads share the width.
        key_heads: the family's default; None, also as a value: one for each head.
        size: the family's default size of a head; None, also as a value: heads share the width.
    """

    def read(fields: Fields, found: Mapping[str, Any]) -> dict[str, Any]:
        given = fields.size_or_null("head_dim", size) if head_dim else None
        if given is None and found["width"] % found["heads"]:
            raise fields.refuse(
                "hidden size", found["width"], f"not a multiple of {found['heads']}"
            )
        shared = found["width"] // found["heads"]
        count = fields.size_or_null("num_key_value_heads", key_heads) if head_dim else None
        return {
            "head_dim": given or shared,
            "kv_heads": 0 if count in (None, found["heads"]) else count,
        }

    def write(config: ModelConfig) -> dict[str, Any]:
        if not head_dim:
            return {}
        return {"head_dim": config.head_dim, "num_key_value_heads": config.key_heads}

    return FieldGroup(read, write)


def cap(key: str, field: str, default: float | None) -> FieldGroup:
    """A soft cap; null is none."""

    def read(fields: Fields, _: Mapping[str, Any]) -> dict[str, Any]:
        value = fields.take(key, default)
        return {
            field: 0.0 if value is None else float(Fields({key: value}, fields.where).number(key))
        }

    return FieldGroup(read, lambda config: {key: getattr(config, field) or None})


def query_scale(key: str, default: int) -> FieldGroup:
    """Queries are multiplied by this number's inverse square root (Gemma)."""

    def write(config: ModelConfig) -> dict[str, Any]:
        return {key: round(config.scale**-2) if config.scale else config.head_dim}

    return FieldGroup(
        lambda fields, _: {"scale": float(fields.number(key, default) ** -0.5)}, write
    )


def unscaled(key: str) -> FieldGroup:
    """False: scores are not divided by the root of the head's size (GPT-2)."""
    return FieldGroup(
        lambda fields, _: {"scale": 0.0 if fields.flag(key, True) else 1.0},
        lambda config: {key: config.scale != 1.0},
    )


def embedding_scale() -> FieldGroup:
    """The root of the width, in every Gemma."""
    return FieldGroup(
        lambda _, found: {"embedding_scale": float(found["width"] ** 0.5)}, lambda config: {}
    )
