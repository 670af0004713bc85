import dataclasses
from typing import Any

import pytest

import toys
from star_jax.conversion import config_fields
from star_jax.conversion.config_fields import FamilyError, FieldGroup, Fields

FOUND = {"width": 24, "heads": 4, "layers": 3, "context": 64}


def read(aspect: FieldGroup, **values: Any) -> dict[str, Any]:
    given = Fields(values, "config.json")
    result = aspect.read(given, FOUND)
    given.settle({}, frozenset())  # an aspect takes all its keys
    return result


@pytest.mark.parametrize(
    ("aspect", "values", "expected"),
    [
        (config_fields.sizes(a="width", b="heads"), {"a": 3, "b": 4}, {"width": 3, "heads": 4}),
        (config_fields.epsilon("e", 1e-5), {}, {"norm_epsilon": 1e-5}),
        (config_fields.epsilon("e", 1e-5), {"e": 1}, {"norm_epsilon": 1.0}),
        (config_fields.flags("f", True, "tied"), {}, {"tied": True}),
        (config_fields.flags("f", True, "a", "b"), {"f": False}, {"a": False, "b": False}),
        (config_fields.activation("a", "gelu"), {}, {"activation": "gelu"}),
        (config_fields.activation("a", "gelu"), {"a": "gelu_new"}, {"activation": "gelu_tanh"}),
        (
            config_fields.activation("a", "gelu"),
            {"a": "gelu_pytorch_tanh"},
            {"activation": "gelu_tanh"},
        ),
        (config_fields.activation("a", "gelu"), {"a": "swish"}, {"activation": "silu"}),
        (config_fields.inner("n"), {}, {"hidden": 96}),
        (config_fields.inner("n"), {"n": None}, {"hidden": 96}),
        (config_fields.inner("n"), {"n": 5}, {"hidden": 5}),
        (config_fields.heads(), {}, {"head_dim": 6, "kv_heads": 0}),
        (
            config_fields.heads(),
            {"head_dim": 8, "num_key_value_heads": 2},
            {"head_dim": 8, "kv_heads": 2},
        ),
        (config_fields.heads(), {"num_key_value_heads": 4}, {"head_dim": 6, "kv_heads": 0}),
        (config_fields.heads(key_heads=2, size=9), {}, {"head_dim": 9, "kv_heads": 2}),
        (
            config_fields.heads(key_heads=2, size=9),
            {"head_dim": None},
            {"head_dim": 6, "kv_heads": 2},
        ),
        (config_fields.heads(head_dim=False, key_heads=2), {}, {"head_dim": 6, "kv_heads": 0}),
        (config_fields.cap("c", "logit_cap", 30.0), {}, {"logit_cap": 30.0}),
        (config_fields.cap("c", "logit_cap", 30.0), {"c": None}, {"logit_cap": 0.0}),
        (config_fields.query_scale("s", 256), {}, {"scale": 1 / 16}),
        (config_fields.unscaled("s"), {"s": False}, {"scale": 1.0}),
        (config_fields.embedding_scale(), {}, {"embedding_scale": 24**0.5}),
    ],
)
def test_aspects(aspect: FieldGroup, values: dict[str, Any], expected: dict[str, Any]):
    assert read(aspect, **values) == expected


@pytest.mark.parametrize("scale", [0.0, 144**-0.5, 168**-0.5, 7**-0.5])
def test_the_scale_of_queries_is_written_as_a_whole_number(scale: float):
    config = dataclasses.replace(toys.SMALL, scale=scale)
    aspect = config_fields.query_scale("s", 1)
    again = read(aspect, **aspect.write(config))["scale"]
    assert again == (scale or config.head_dim**-0.5)


def test_one_activation_has_the_name_that_the_family_uses():
    tanh = dataclasses.replace(toys.SMALL, activation="gelu_tanh")
    assert config_fields.activation("a", "gelu_new").write(tanh) == {"a": "gelu_new"}
    assert config_fields.activation("a", "silu").write(tanh) == {"a": "gelu_pytorch_tanh"}


@pytest.mark.parametrize("value", [0, -1, "3", None, True, float("nan"), float("inf"), [1], 1.5])
def test_sizes_are_whole_numbers_above_zero(value: Any):
    with pytest.raises(FamilyError, match=r"^config.json: .*'?a'?"):
        Fields({"a": value}, "config.json").size("a")


def test_a_key_that_is_missing_is_named():
    with pytest.raises(FamilyError, match="config.json: no 'a'; take the config.json of the model"):
        Fields({}, "config.json").size("a")


def test_a_table_is_a_copy():
    values = {"t": {"x": 1}}
    Fields(values, "config.json").table("t").clear()
    assert values == {"t": {"x": 1}} and Fields({"t": None}, "").table("t") == {}


def test_settling_refuses_what_nobody_looked_at():
    neutral = {"off": (False, None)}
    given = Fields({"seen": 1, "off": False, "dropout": 0.1}, "config.json")
    given.take("seen")
    given.settle(neutral, frozenset({"dropout"}))
    with pytest.raises(FamilyError, match="off = True: is not implemented; only False or None is"):
        Fields({"off": True}, "config.json").settle(neutral, frozenset())
    with pytest.raises(FamilyError, match="new = 0: is unknown here and may change"):
        Fields({"new": 0}, "config.json").settle(neutral, frozenset())


@pytest.mark.parametrize(
    ("key", "value", "refused"),
    [
        ("_model_name_or_path", "a model", False),
        ("_anything", {"a": 1}, False),
        ("unk_token_id", 3, False),
        ("image_token_id", None, False),
        ("stop_token_ids", [1, 2], False),
        ("pad_token", "<pad>", False),
        ("unk_token", None, False),
        ("num_experts_per_token", 2, True),
        ("token_ids_shift", 1, True),
        ("num_register_tokens", 4, True),
        ("_known", 2, True),
        ("rotated_token_id", 2, True),
    ],
)
def test_notes_and_names_of_tokens_are_passed_over(key: str, value: Any, refused: bool):
    given = Fields({key: value}, "config.json")
    neutral = {"_known": (1,), "rotated_token_id": (1,)}
    if refused:
        with pytest.raises(FamilyError, match=f"{key} = {value!r}: is "):
            given.settle(neutral, frozenset())
    else:
        given.settle(neutral, frozenset())
