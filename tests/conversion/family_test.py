import dataclasses

import jax
import pytest

import hugging_face
import toys
from hugging_face import VARIANTS
from star_jax.conversion import families
from star_jax.conversion import family as family_lib
from star_jax.conversion.config_fields import FamilyError
from star_jax.conversion.families import FAMILIES
from star_jax.models import stacking
from star_jax.models.abstract_params import abstract_params

GPTJ, LLAMA = FAMILIES["gptj"], FAMILIES["llama"]


@pytest.mark.parametrize("name", VARIANTS)
def test_every_weight_has_a_place_of_its_own_shape(name: str):
    family, config = families.read_config(hugging_face.values(name), name)
    abstract = abstract_params(config, toys.one_device())
    leaves, _ = jax.tree_util.tree_flatten_with_path(abstract)
    places = {}
    for path, leaf in leaves:
        weight = jax.tree_util.keystr(path, simple=True, separator=".")
        for part in (parts := stacking.names(weight, config.layers)):
            place = family.stored(part, config)
            assert place.weight_shape == leaf.shape[parts != [weight] :], part
            places.setdefault((place.tensor, place.part), []).append(part)
    assert all(len(weights) == 1 for weights in places.values())


@pytest.mark.parametrize(
    ("name", "tensor", "shape"),
    [
        ("blocks.1.attention.k_bias.value", "model.layers.1.self_attn.k_proj.bias", (16,)),
        ("blocks.12.norm.scale.value", "model.layers.12.input_layernorm.weight", (24,)),
        ("blocks.0.mlp.down.value", "model.layers.0.mlp.down_proj.weight", (24, 20)),
        ("norm.scale.value", "model.norm.weight", (24,)),
        ("head.value", "lm_head.weight", (43, 24)),
    ],
)
def test_names(name: str, tensor: str, shape: tuple[int, ...]):
    place = LLAMA.stored(name, hugging_face.config("llama"))
    assert (place.tensor, place.shape) == (tensor, shape)


@pytest.mark.parametrize("name", ["positions.value", "blocks.0.post_norm.scale.value", "x.value"])
def test_a_weight_that_the_family_lacks(name: str):
    with pytest.raises(FamilyError, match=f"{name}: no model of the family llama"):
        LLAMA.stored(name, hugging_face.config("llama"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gated": True}, "gptj: its config.json cannot say gated = True, not False"),
        ({"norm": "rms", "qk_norm": True}, "norm = 'rms', not 'layer'; qk_norm = True, not False"),
        ({"rotary_base": 500.0}, "rotary_base = 500.0, not 10000.0"),
        ({"windows": (4, 0)}, r"windows = \(4, 0\)"),
    ],
)
def test_a_shape_that_the_family_cannot_say(change: dict, message: str):
    with pytest.raises(FamilyError, match=message):
        GPTJ.write(dataclasses.replace(toys.SMALL, **change))


def test_padding_and_types_are_not_said():
    types = {"dtype": "bfloat16", "param_dtype": "bfloat16"}
    config = toys.replace(toys.SMALL, vocab_padding=3, kv_heads=2, windows=(0, 0), **types)
    assert family_lib.canonical(config) == dataclasses.replace(toys.SMALL, vocab=29)
    written = GPTJ.write(config)
    assert (written["vocab_size"], written["dtype"]) == (29, "bfloat16")


def test_a_model_may_be_used_with_a_shorter_context_but_not_with_fewer_positions():
    for name in ("llama", "gpt2"):
        family, config = families.read_config(hugging_face.values(name), name)
        shorter = dataclasses.replace(config, context=16)
        if name == "llama":
            family.check(shorter, hugging_face.values(name), "hf_config")
        else:
            with pytest.raises(FamilyError, match="context = 16, not 32"):
                family.check(shorter, hugging_face.values(name), "hf_config")
