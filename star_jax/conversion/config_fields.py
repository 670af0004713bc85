"""Reads and writes the config.json of a Hugging Face model, one group of fields at a time.

A config is read by an allow-list: `Fields` records which keys were read, and a model with a key
left over is refused, because the effect of that key on the computation is unknown.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from star_jax.models.config import ModelConfig


class FamilyError(ValueError):
    """A model that would not be computed as its authors meant; the message names the key."""


class Fields:
    """The keys of one config.json that have not been read yet.

    Args:
        values: values by key; the mapping is copied.
        where: name of the file, for messages.
    """

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self._left = dict(values)
        self.where = where

    def refuse(self, key: str, value: Any, why: str) -> FamilyError:
        """Returns the error to raise for a key."""
        return FamilyError(f"{self.where}: {key} = {value!r}: {why}")

    def take(self, key: str, default: Any = None) -> Any:
        """Returns the value unchecked; `default` if the key is absent."""
        return self._left.pop(key, default)

    def number(self, key: str, default: float | None = None) -> float:
        """Returns a number above 0; `default`, which is checked too, if the key is absent."""
        value = self.take(key, default)
        if value is None:
            raise FamilyError(f"{self.where}: no {key!r}; take the config.json of the model whole")
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 < value < math.inf:
            raise self.refuse(key, value, "must be a number above 0")
        return value

    def size(self, key: str, default: int | None = None) -> int:
        """Returns a whole number above 0; `default`, which is checked too, if the key is absent."""
        value = self.number(key, default)
        if not isinstance(value, int):
            raise self.refuse(key, value, "must be a whole number")
        return value

    def size_or_null(self, key: str, default: int | None) -> int | None:
        """Returns a whole number above 0, or None for null; `default` if the key is absent."""
        value = self.take(key, default)
        return None if value is None else Fields({key: value}, self.where).size(key)

    def flag(self, key: str, default: bool) -> bool:
        """Returns a bool; `default` if the key is absent."""
        value = self.take(key, default)
        if not isinstance(value, bool):
            raise self.refuse(key, value, "must be true or false")
        return value

    def table(self, key: str) -> dict[str, Any]:
        """Returns a copy of a JSON object; {} if the key is absent or null."""
        value = self.take(key)
        if value is not None and not isinstance(value, dict):
            raise self.refuse(key, value, "must be an object")
        return dict(value or {})

    def settle(self, neutral: Mapping[str, tuple[Any, ...]], ignored: frozenset[str]) -> None:
        """Refuses the keys that are left, except ignored ones and those at a neutral value.

        Keys that begin with an underscore are transformers' notes on the origin of a model; a field
        group takes the one that matters before. Keys that name tokens do not affect the
        computation.

        Args:
            neutral: key -> values at which it does not affect the computation.
            ignored: keys that never affect the computation.

        Raises:
            FamilyError: a key is refused; the message names it, its value and allowed values.
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
    """True for eos_token_id = 2 or pad_token = "<pad>", but not for num_experts_per_token = 2."""
    named = key.endswith("_token") and isinstance(value, str | None)
    return named or key.endswith(("_token_id", "_token_ids"))


class FieldGroup(NamedTuple):
    """A group of keys of a config.json that are read and written together.

    Attributes:
        read: function that takes the group's keys from `Fields`, given the ModelConfig fields that
            earlier groups have read, and returns further ModelConfig fields.
        write: function that returns the group's keys and values for a ModelConfig.
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
    """Returns the group of required sizes, given as key = ModelConfig field."""
    return FieldGroup(
        lambda fields, _: {field: fields.size(key) for key, field in keys.items()},
        lambda config: {key: getattr(config, field) for key, field in keys.items()},
    )


def epsilon(key: str, default: float) -> FieldGroup:
    """Returns the group of the number that is added to a variance."""
    return FieldGroup(
        lambda fields, _: {"norm_epsilon": float(fields.number(key, default))},
        lambda config: {key: config.norm_epsilon},
    )


def flags(key: str, default: bool, *fields_: str) -> FieldGroup:
    """Returns the group of one switch that sets several ModelConfig fields."""
    return FieldGroup(
        lambda fields, _: dict.fromkeys(fields_, fields.flag(key, default)),
        lambda config: {key: getattr(config, fields_[0])},
    )


def activation(key: str, default: str) -> FieldGroup:
    """Returns the group of the MLP's activation; `default` is the preferred name in `write`."""

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
    """Returns the group of the feed-forward size; null is four times the width."""

    def read(fields: Fields, known: Mapping[str, Any]) -> dict[str, Any]:
        return {"hidden": fields.size_or_null(key, None) or 4 * known["width"]}

    return FieldGroup(read, lambda config: {key: config.hidden})


def heads(
    head_dim: bool = True, key_heads: int | None = None, size: int | None = None
) -> FieldGroup:
    """Returns the group of the size of a head and the number of key heads.

    Args:
        head_dim: whether the family has these keys; otherwise heads share the width.
        key_heads: default number of key heads; None, also as a value, for one for each head.
        size: default size of a head; None, also as a value, for heads that share the width.
    """

    def read(fields: Fields, known: Mapping[str, Any]) -> dict[str, Any]:
        own_size = fields.size_or_null("head_dim", size) if head_dim else None
        if own_size is None and known["width"] % known["heads"]:
            raise fields.refuse(
                "hidden size", known["width"], f"not a multiple of {known['heads']}"
            )
        shared = known["width"] // known["heads"]
        count = fields.size_or_null("num_key_value_heads", key_heads) if head_dim else None
        return {
            "head_dim": own_size or shared,
            "kv_heads": 0 if count in (None, known["heads"]) else count,
        }

    def write(config: ModelConfig) -> dict[str, Any]:
        if not head_dim:
            return {}
        return {"head_dim": config.head_dim, "num_key_value_heads": config.key_heads}

    return FieldGroup(read, write)


def cap(key: str, field: str, default: float | None) -> FieldGroup:
    """Returns the group of a soft cap; null is no cap."""

    def read(fields: Fields, _: Mapping[str, Any]) -> dict[str, Any]:
        value = fields.take(key, default)
        return {
            field: 0.0 if value is None else float(Fields({key: value}, fields.where).number(key))
        }

    return FieldGroup(read, lambda config: {key: getattr(config, field) or None})


def query_scale(key: str, default: int) -> FieldGroup:
    """Returns the group of the number whose inverse square root scales queries (Gemma)."""

    def write(config: ModelConfig) -> dict[str, Any]:
        return {key: round(config.scale**-2) if config.scale else config.head_dim}

    return FieldGroup(
        lambda fields, _: {"scale": float(fields.number(key, default) ** -0.5)}, write
    )


def unscaled(key: str) -> FieldGroup:
    """Returns the group of the switch that divides scores by the root of head_dim (GPT-2)."""
    return FieldGroup(
        lambda fields, _: {"scale": 0.0 if fields.flag(key, True) else 1.0},
        lambda config: {key: config.scale != 1.0},
    )


def embedding_scale() -> FieldGroup:
    """Returns the group without keys that scales embeddings by the root of the width (Gemma)."""
    return FieldGroup(
        lambda _, known: {"embedding_scale": float(known["width"] ** 0.5)}, lambda config: {}
    )
