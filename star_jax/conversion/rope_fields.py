"""Reads and writes the RoPE and sliding-window fields of config.json."""

from collections.abc import Callable, Mapping
from typing import Any

from star_jax.conversion.config_fields import FieldGroup, Fields
from star_jax.models.config import ModelConfig, RopeScaling


def rotary_dim(key: str) -> FieldGroup:
    """Returns GPT-J's group: the number of rotated dimensions of a head; the base is fixed."""
    return FieldGroup(
        lambda fields, _: {"rotary": fields.size(key, 64), "rotary_base": 10_000.0},
        lambda config: {key: config.rotary},
    )


def rope(
    theta: str = "rope_theta", partial: str = "partial_rotary_factor", share: float = 1.0
) -> FieldGroup:
    """Returns the group of RoPE in both styles: "rope_parameters", or a base and "rope_scaling".

    Args:
        theta: key of the base in the old style.
        partial: key of the rotated share of dimensions in the old style.
        share: default of the rotated share; a family with the default 1 allows no other.
    """

    def read(fields: Fields, known: Mapping[str, Any]) -> dict[str, Any]:
        new, old = fields.table("rope_parameters"), fields.table("rope_scaling")
        if new and old:
            raise fields.refuse("rope_scaling", old, "is set beside rope_parameters; keep one")
        base = {
            "rope_theta": fields.take(theta, 10_000.0),
            "partial_rotary_factor": fields.take(partial, share),
        }
        key = "rope_parameters" if new else "rope_scaling"
        theta_, part, scaling = _rope(fields, key, base | (new or old), known["context"])
        rotary = int(known["head_dim"] * part)
        if share == 1.0 and part != 1.0 or not 0 < rotary <= known["head_dim"] or rotary % 2:
            raise fields.refuse(partial, part, "rotates no even, possible number of dimensions")
        return {"rotary": rotary, "rotary_base": theta_, "rope_scaling": scaling}

    def write(config: ModelConfig) -> dict[str, Any]:
        values = _rope_parameters(config.rotary_base, config.rope_scaling)
        if share != 1.0:
            values["partial_rotary_factor"] = config.rotary / config.head_dim
        return {"rope_parameters": values}

    return FieldGroup(read, write)


def layered_rope(base: float = 1e6, local_base: float = 1e4) -> FieldGroup:
    """Returns Gemma 3's group: one RoPE for layers with a window, and one for the others."""

    def read(fields: Fields, known: Mapping[str, Any]) -> dict[str, Any]:
        new, old = fields.table("rope_parameters"), fields.table("rope_scaling")
        if new and old:
            raise fields.refuse("rope_scaling", old, "is set beside rope_parameters; keep one")
        whole = {"rope_theta": fields.take("rope_theta", base)}
        local = {"rope_theta": fields.take("rope_local_base_freq", local_base)}
        whole |= new.pop("full_attention", None) or old
        local |= new.pop("sliding_attention", None) or {}
        for key, value in new.items():
            raise fields.refuse(f"rope_parameters.{key}", value, "is no layer type known here")
        theta, share, scaling = _rope(fields, "full_attention", whole, known["context"])
        local_theta, local_share, local_scaling = _rope(
            fields, "sliding_attention", local, known["context"]
        )
        if (share, local_share) != (1.0, 1.0) or local_scaling:
            raise fields.refuse("rope_parameters", {**whole, **local}, "is not implemented")
        return {
            "rotary": known["head_dim"],
            "rotary_base": theta,
            "rope_scaling": scaling,
            "rotary_local_base": local_theta,
        }

    def write(config: ModelConfig) -> dict[str, Any]:
        whole = _rope_parameters(config.rotary_base, config.rope_scaling)
        local = _rope_parameters(config.rotary_local_base or config.rotary_base, None)
        return {"rope_parameters": {"full_attention": whole, "sliding_attention": local}}

    return FieldGroup(read, write)


def _rope(
    fields: Fields, key: str, values: dict[str, Any], context: int
) -> tuple[float, float, RopeScaling | None]:
    """Returns the base, the rotated share of dimensions and the scaling of one RoPE."""
    own = Fields(values, f"{fields.where}: {key}")
    kind, legacy = own.take("rope_type"), own.take("type")
    kind = kind or legacy or "default"
    base = float(own.number("rope_theta"))
    share = float(own.number("partial_rotary_factor", 1.0))
    scaling = None
    if kind == "linear":
        scaling = RopeScaling("linear", float(own.number("factor")))
    elif kind == "llama3":
        scaling = RopeScaling(
            kind="llama3",
            factor=float(own.number("factor")),
            low=float(own.number("low_freq_factor")),
            high=float(own.number("high_freq_factor")),
            original=own.size("original_max_position_embeddings", context),
        )
    elif kind != "default":
        raise own.refuse("rope_type", kind, "is not implemented; default, linear and llama3 are")
    own.settle({}, frozenset())
    return base, share, scaling


def _rope_parameters(base: float, scaling: RopeScaling | None) -> dict[str, Any]:
    values: dict[str, Any] = {"rope_theta": base, "rope_type": "default"}
    if scaling:
        values |= {"rope_type": scaling.kind, "factor": scaling.factor}
    if scaling and scaling.kind == "llama3":
        values |= {
            "low_freq_factor": scaling.low,
            "high_freq_factor": scaling.high,
            "original_max_position_embeddings": scaling.original,
        }
    return values


def _layer_types(fields: Fields, known: Mapping[str, Any], default: Callable[[int], bool]) -> list:
    """Returns for every layer whether it has a window."""
    types = fields.take("layer_types")
    if types is None:
        return [default(layer) for layer in range(known["layers"])]
    names = ["full_attention", "sliding_attention"]
    if not isinstance(types, list) or len(types) != known["layers"] or set(types) - set(names):
        raise fields.refuse("layer_types", types, f"must be {' or '.join(names)} for each layer")
    return [type_ == "sliding_attention" for type_ in types]


def _windows(fields: Fields, local: list[bool], window: Any) -> dict[str, Any]:
    if not any(local):
        return {"windows": ()}
    size = Fields({"sliding_window": window}, fields.where).size("sliding_window")
    return {"windows": tuple(size if near else 0 for near in local)}


def _write_windows(config: ModelConfig, *switches: str) -> dict[str, Any]:
    sizes = sorted({size for size in config.windows if size})
    near = [bool(config.window(layer)) for layer in range(config.layers)]
    types = ["sliding_attention" if local else "full_attention" for local in near]
    return {
        "layer_types": types,
        "sliding_window": sizes[0] if sizes else None,
        **dict.fromkeys(switches, bool(sizes)),
    }


def one_window() -> FieldGroup:
    """Returns Mistral's group: all layers have a window, or none has."""

    def read(fields: Fields, known: Mapping[str, Any]) -> dict[str, Any]:
        window = fields.take("sliding_window", 4096)
        return _windows(fields, [window is not None] * known["layers"], window)

    return FieldGroup(read, lambda c: {"sliding_window": c.windows[0] if any(c.windows) else None})


def upper_windows() -> FieldGroup:
    """Returns Qwen's group: layers from "max_window_layers" on have a window, if any has."""

    def read(fields: Fields, known: Mapping[str, Any]) -> dict[str, Any]:
        window, first = fields.take("sliding_window", 4096), fields.take("max_window_layers", 28)
        if not isinstance(first, int):
            raise fields.refuse("max_window_layers", first, "must be a whole number")
        window = window if fields.flag("use_sliding_window", False) else None
        local = _layer_types(fields, known, lambda n: window is not None and n >= first)
        return _windows(fields, local, window)

    return FieldGroup(read, lambda config: _write_windows(config, "use_sliding_window"))


def patterned_windows(pattern: int, key: str = "") -> FieldGroup:
    """Returns Gemma's group: all layers but each `pattern`-th have a window.

    Args:
        pattern: distance between layers without a window, unless `key` is present.
        key: key of that distance; "" for none.
    """

    def read(fields: Fields, known: Mapping[str, Any]) -> dict[str, Any]:
        every = fields.size(key, pattern) if key else pattern
        noted = fields.size(f"_{key}", every) if key else every  # transformers writes it only
        local = _layer_types(fields, known, lambda n: bool((n + 1) % every))
        if noted != every and local != [bool((n + 1) % noted) for n in range(known["layers"])]:
            raise fields.refuse(f"_{key}", noted, "is not what layer_types says")
        return _windows(fields, local, fields.take("sliding_window", 4096))

    return FieldGroup(read, _write_windows)
