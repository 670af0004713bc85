import dataclasses
from typing import Any

import pytest

import toys
from star_jax.conversion import rope_fields
from star_jax.conversion.config_fields import FamilyError, FieldGroup, Fields
from star_jax.models.config import RopeScaling

FOUND = {"head_dim": 8, "layers": 4, "context": 64}
NEOX = rope_fields.rope("rotary_emb_base", "rotary_pct", share=0.25)
LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
FULL, LOCAL = "full_attention", "sliding_attention"


def read(aspect: FieldGroup, **values: Any) -> dict[str, Any]:
    given = Fields(values, "config.json")
    result = aspect.read(given, FOUND)
    given.settle({}, frozenset())
    return result


def rope(base: float = 1e4, rotary: int = 8, scaling: RopeScaling | None = None) -> dict[str, Any]:
    return {"rotary": rotary, "rotary_base": base, "rope_scaling": scaling}


@pytest.mark.parametrize(
    ("aspect", "values", "expected"),
    [
        (rope_fields.rope(), {}, rope()),
        (rope_fields.rope(), {"rope_theta": 500, "rope_scaling": None}, rope(500.0)),
        (rope_fields.rope(), {"rope_parameters": {"rope_theta": 7.0}}, rope(7.0)),
        # The new style wins over a base beside it.
        (
            rope_fields.rope(),
            {"rope_theta": 5.0, "rope_parameters": {"rope_theta": 7.0}},
            rope(7.0),
        ),
        (
            rope_fields.rope(),
            {"rope_theta": 5.0, "rope_parameters": {"type": "default"}},
            rope(5.0),
        ),
        (
            rope_fields.rope(),
            {"rope_theta": 5.0, "rope_scaling": {"type": "linear", "factor": 2}},
            rope(5.0, scaling=RopeScaling("linear", 2.0)),
        ),
        (
            rope_fields.rope(),
            {"rope_scaling": {"rope_type": "llama3", "type": "other", **LLAMA3}},
            rope(scaling=RopeScaling("llama3", 8.0, 1.0, 4.0, 64)),  # original: the context
        ),
        (
            rope_fields.rope(),
            {
                "rope_scaling": {
                    "rope_type": "llama3",
                    "original_max_position_embeddings": 16,
                    **LLAMA3,
                }
            },
            rope(scaling=RopeScaling("llama3", 8.0, 1.0, 4.0, 16)),
        ),
        (NEOX, {}, rope(rotary=2)),
        (NEOX, {"rotary_pct": 0.5, "rotary_emb_base": 9}, rope(9.0, rotary=4)),
        (NEOX, {"rope_parameters": {"partial_rotary_factor": 1.0}}, rope(rotary=8)),
        (rope_fields.rotary_dim("r"), {"r": 4}, {"rotary": 4, "rotary_base": 10_000.0}),
        (rope_fields.layered_rope(), {}, rope(1e6) | {"rotary_local_base": 1e4}),
        (
            rope_fields.layered_rope(),
            {
                "rope_theta": 9.0,
                "rope_local_base_freq": 3,
                "rope_scaling": {"rope_type": "linear", "factor": 8.0},
            },
            rope(9.0, scaling=RopeScaling("linear", 8.0)) | {"rotary_local_base": 3.0},
        ),
        (
            rope_fields.layered_rope(),
            {"rope_parameters": {FULL: {"rope_theta": 9.0}, LOCAL: None}},
            rope(9.0) | {"rotary_local_base": 1e4},
        ),
    ],
)
def test_rotary_embeddings(aspect: FieldGroup, values: dict[str, Any], expected: dict[str, Any]):
    assert read(aspect, **values) == expected


@pytest.mark.parametrize(
    ("aspect", "values", "expected"),
    [
        (rope_fields.one_window(), {}, (4096,) * 4),
        (rope_fields.one_window(), {"sliding_window": None}, ()),
        (rope_fields.upper_windows(), {}, ()),
        (rope_fields.upper_windows(), {"sliding_window": 5, "max_window_layers": 2}, ()),
        (
            rope_fields.upper_windows(),
            {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 2},
            (0, 0, 5, 5),
        ),
        (rope_fields.upper_windows(), {"use_sliding_window": True, "layer_types": [FULL] * 4}, ()),
        (rope_fields.patterned_windows(2), {}, (4096, 0, 4096, 0)),
        (rope_fields.patterned_windows(2), {"layer_types": [FULL, LOCAL] * 2}, (0, 4096, 0, 4096)),
        (rope_fields.patterned_windows(6, "p"), {"p": 3, "sliding_window": 2}, (2, 2, 0, 2)),
        (
            rope_fields.patterned_windows(6, "p"),
            {"_p": 6, "layer_types": [LOCAL] * 4, "sliding_window": 2},
            (2,) * 4,
        ),
    ],
)
def test_windows(aspect: FieldGroup, values: dict[str, Any], expected: tuple[int, ...]):
    assert read(aspect, **values) == {"windows": expected}


@pytest.mark.parametrize("windows", [(), (3, 0, 3, 0), (3, 3, 3, 3)])
@pytest.mark.parametrize(
    "make", [rope_fields.upper_windows, lambda: rope_fields.patterned_windows(2)]
)
def test_windows_are_written_as_they_were_read(make: Any, windows: tuple[int, ...]):
    config = dataclasses.replace(toys.SMALL, layers=4, windows=windows)
    assert read(make(), **make().write(config)) == {"windows": windows}


def test_two_styles_at_once_are_refused():
    new = {"rope_parameters": {"rope_theta": 1.0}, "rope_scaling": {"type": "linear", "factor": 2}}
    for aspect in (rope_fields.rope(), rope_fields.layered_rope()):
        with pytest.raises(FamilyError, match="rope_scaling = .* is set beside rope_parameters"):
            read(aspect, **new)
