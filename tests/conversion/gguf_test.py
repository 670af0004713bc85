import pathlib
import sys
from typing import Any

import gguf
import jax
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type

import hugging_face
import toys
from star_jax.conversion import export, load
from star_jax.conversion.safetensors import LoadError
from star_jax.models.config import RopeScaling
from star_jax.runtime import sharding
from star_jax.storage.checkpoint import named

SIZES = {"width": 32, "hidden": 64, "layers": 2, "heads": 4, "kv": 2, "vocab": 43, "context": 64}
TYPES = [Type.F32, Type.F16, Type.BF16, Type.Q4_0, Type.Q4_1, Type.Q8_0]
Tensors = dict[str, np.ndarray]


def tensors(tied: bool = True, bias: bool = False, normed: bool = False) -> Tensors:
    """A random model in transformers' names."""
    draws = np.random.default_rng(0)
    width, hidden, head = SIZES["width"], SIZES["hidden"], SIZES["width"] // SIZES["heads"]
    shapes = {"model.embed_tokens.weight": (SIZES["vocab"], width), "model.norm.weight": (width,)}
    if not tied:
        shapes["lm_head.weight"] = (SIZES["vocab"], width)
    for layer in range(SIZES["layers"]):
        block = f"model.layers.{layer}."
        rows = {"q": width, "k": SIZES["kv"] * head, "v": SIZES["kv"] * head}
        shapes |= {f"{block}self_attn.{p}_proj.weight": (n, width) for p, n in rows.items()}
        if bias:
            shapes |= {f"{block}self_attn.{p}_proj.bias": (n,) for p, n in rows.items()}
        if normed:
            shapes |= {f"{block}self_attn.{p}_norm.weight": (head,) for p in "qk"}
        shapes |= {
            f"{block}self_attn.o_proj.weight": (width, width),
            f"{block}mlp.gate_proj.weight": (hidden, width),
            f"{block}mlp.up_proj.weight": (hidden, width),
            f"{block}mlp.down_proj.weight": (width, hidden),
            f"{block}input_layernorm.weight": (width,),
            f"{block}post_attention_layernorm.weight": (width,),
        }
    return {
        name: (draws.normal(size=shape) * (1 if len(shape) == 1 else 0.3)).astype(np.float32)
        for name, shape in shapes.items()
    }


def permuted(x: np.ndarray, heads: int) -> np.ndarray:
    """As llama.cpp's convert_hf_to_gguf.py (LlamaModel.permute)."""
    return x.reshape(heads, 2, len(x) // heads // 2, *x.shape[1:]).swapaxes(1, 2).reshape(x.shape)


def write(
    path: pathlib.Path,
    given: Tensors,
    kind: Type = Type.F32,
    architecture: str = "llama",
    base: float = 500.0,
    divisors: np.ndarray | None = None,
    **metadata: Any,
) -> Tensors:
    """A file as llama.cpp would make it; returns what is left of the tensors in it."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_vocab_size(SIZES["vocab"])
    writer.add_context_length(SIZES["context"])
    writer.add_embedding_length(SIZES["width"])
    writer.add_block_count(SIZES["layers"])
    writer.add_feed_forward_length(SIZES["hidden"])
    writer.add_head_count(SIZES["heads"])
    writer.add_head_count_kv(SIZES["kv"])
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(base)
    writer.add_rope_dimension_count(SIZES["width"] // SIZES["heads"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_token_list([f"t{n}" for n in range(SIZES["vocab"])])
    for name, value in metadata.items():
        name = f"{architecture}.{name.replace('__', '.')}"
        if isinstance(value, str):
            writer.add_string(name, value)
        elif isinstance(value, float):
            writer.add_float32(name, value)
        else:
            writer.add_uint32(name, value)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[architecture.upper()], SIZES["layers"])
    left = {}
    for name, x in given.items():
        heads = {"q_proj": SIZES["heads"], "k_proj": SIZES["kv"]}.get(name.split(".")[-2], 0)
        turned = permuted(x, heads) if heads and architecture == "llama" else x
        chosen = Type.F32 if x.ndim == 1 else kind
        packed = gguf.quants.quantize(turned, chosen)
        writer.add_tensor(str(names.get_name(name, (".weight", ".bias"))), packed, raw_dtype=chosen)
        unpacked = gguf.quants.dequantize(packed, chosen)
        if heads and architecture == "llama":  # the reverse
            pairs = unpacked.reshape(heads, len(x) // heads // 2, 2, *x.shape[1:])
            unpacked = pairs.swapaxes(1, 2).reshape(x.shape)
        left[name] = unpacked
    if divisors is not None:
        writer.add_tensor("rope_freqs.weight", divisors)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return left


def back(loaded: load.Loaded) -> Tensors:
    """The weights as tensors in transformers' names."""
    found = {}
    weights = export.by_layer(named(loaded.params), loaded.config.layers)
    for name, weight in weights.items():
        place = loaded.family.stored(name, loaded.config)
        found[place.tensor] = np.empty(place.shape, np.float32)
        place.write(
            found[place.tensor], np.asarray(weight())[tuple(map(slice, place.weight_shape))]
        )
    return found


def same(mine: Tensors, other: Tensors) -> bool:
    return mine.keys() == other.keys() and all((x == other[name]).all() for name, x in mine.items())


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.name)
@pytest.mark.parametrize("sizes", [(1, 1, 1), (1, 2, 4), (1, 8, 1)])
def test_tensors_are_unpacked_onto_the_mesh(
    kind: Type, sizes: tuple[int, int, int], tmp_path: pathlib.Path
):
    devices = jax.devices()[: int(np.prod(sizes))]
    if len(devices) < np.prod(sizes):
        pytest.skip("needs eight devices")
    expected = write(tmp_path / "m.gguf", tensors(), kind)
    made = sharding.make_mesh(*sizes, devices=devices)
    assert same(back(load.load(str(tmp_path / "m.gguf"), made)), expected)


def test_the_shape_is_that_of_the_metadata(tmp_path: pathlib.Path):
    write(tmp_path / "m.gguf", tensors(tied=False))
    config = load.open_config(str(tmp_path / "m.gguf"))
    assert (config.layers, config.width, config.heads, config.kv_heads) == (2, 32, 4, 2)
    assert (config.head_dim, config.rotary, config.hidden, config.vocab) == (8, 8, 64, 43)
    assert (config.norm_epsilon, config.rotary_base, config.context) == (1e-5, 500.0, 64)
    assert not config.tied and config.rotary_pairs == "halves"


def llama_cpps_divisors(base: float, factor: float) -> np.ndarray:
    """As its convert_hf_to_gguf.py (LlamaModel.generate_extra_tensors) writes them."""
    size, low, high, old = SIZES["width"] // SIZES["heads"], 1.0, 4.0, 8192
    found = []
    for at in range(0, size, 2):
        wave = 2 * np.pi * base ** (at / size)
        smooth = (old / wave - low) / (high - low)
        blend = 1 / ((1 - smooth) / factor + smooth)
        found.append(1.0 if wave < old / high else factor if wave > old / low else blend)
    assert found[0] == 1 < found[-2] < found[-1] == factor
    return np.array(found, np.float32)


@pytest.mark.parametrize("factor", [8.0, 32.0])
def test_llama_3s_rope_scaling_is_known_by_its_divisors(factor: float, tmp_path: pathlib.Path):
    divisors = llama_cpps_divisors(5e5, factor)
    write(tmp_path / "m.gguf", tensors(), base=5e5, divisors=divisors)
    scaling = load.load(str(tmp_path / "m.gguf"), toys.one_device()).config.rope_scaling
    assert scaling == RopeScaling("llama3", factor, low=1.0, high=4.0, original=8192)
    write(
        tmp_path / "n.gguf",
        tensors(),
        base=5e5,
        divisors=divisors * np.array([1, 1, 1.01, 1], np.float32),
    )
    with pytest.raises(LoadError, match="rope_freqs.weight is not of Llama 3.1's scaling"):
        load.load(str(tmp_path / "n.gguf"), toys.one_device())


@pytest.mark.parametrize("architecture", ["qwen2", "qwen3"])
def test_the_other_architectures(architecture: str, tmp_path: pathlib.Path):
    given = tensors(bias=architecture == "qwen2", normed=architecture == "qwen3")
    more: dict[str, Any] = {"attention__key_length": 8, "attention__value_length": 8}
    expected = write(tmp_path / "m.gguf", given, Type.F32, architecture, **more)
    loaded = load.load(str(tmp_path / "m.gguf"), toys.one_device())
    assert loaded.family.name == architecture and same(back(loaded), expected)


@pytest.mark.torch
def test_logits_are_those_of_transformers_with_the_same_file(tmp_path: pathlib.Path):
    _, transformers = hugging_face.torch_and_transformers()
    kept = write(tmp_path / "m.gguf", tensors(), Type.Q4_1)
    loaded = load.load(str(tmp_path / "m.gguf"), toys.one_device())
    folder = export.export(
        loaded.params, loaded.config, loaded.family, loaded.hf_config, None, tmp_path / "export"
    )
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    theirs = load_gguf_checkpoint(str(tmp_path / "m.gguf"), True, model_to_load=model)["tensors"]
    assert same({name: x.numpy() for name, x in theirs.items()}, kept)
    tokens = hugging_face.tokens()
    expected = hugging_face.theirs(model, tokens)
    assert np.abs(hugging_face.ours(loaded, tokens) - expected).max() < 2e-4


def test_it_becomes_a_folder_of_the_same_model(tmp_path: pathlib.Path):
    write(tmp_path / "m.gguf", tensors(), Type.Q8_0)
    loaded = load.load(str(tmp_path / "m.gguf"), toys.one_device())
    assert loaded.where == tmp_path / "m.gguf"
    folder = export.export(
        loaded.params, loaded.config, loaded.family, loaded.hf_config, None, tmp_path / "export"
    )
    again = load.load(str(folder), toys.one_device())
    assert again.config == loaded.config and hugging_face.same(again.params, loaded.params)
    assert again.hf_config["eos_token_id"] == 2


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"expert_count": 8}, "llama.expert_count = 8 may change the computation"),
        ({"rope__scaling__type": "yarn"}, "llama.rope.scaling.type = 'yarn'"),
        ({"rope__scaling__finetuned": 1}, "llama.rope.scaling.finetuned = 1"),
        ({"attention__sliding_window": 16}, "attention.sliding_window = 16"),
        ({"attention__value_length": 16}, "attention.value_length = 16"),
        ({"something_new": 1}, "llama.something_new = 1"),
    ],
)
def test_metadata_that_is_not_implemented_is_refused(
    metadata: dict[str, Any], message: str, tmp_path: pathlib.Path
):
    write(tmp_path / "m.gguf", tensors(), **metadata)
    with pytest.raises(LoadError, match=rf"m.gguf: .*{message}"):
        load.open_config(str(tmp_path / "m.gguf"))


def test_metadata_that_changes_nothing_is_not(tmp_path: pathlib.Path):
    more: dict[str, Any] = {
        "expert_count": 0,
        "rope__scaling__type": "none",
        "attention__value_length": 8,
    }
    write(tmp_path / "m.gguf", tensors(), **more)
    load.open_config(str(tmp_path / "m.gguf"))


def test_other_architectures_are_refused(tmp_path: pathlib.Path):
    write(tmp_path / "m.gguf", {}, architecture="phi2")
    with pytest.raises(LoadError, match=r"general.architecture = 'phi2' is not implemented; these"):
        load.open_config(str(tmp_path / "m.gguf"))


def test_missing_unexpected_and_odd_tensors(tmp_path: pathlib.Path):
    path = tmp_path / "m.gguf"
    given = tensors()
    q, up = "model.layers.0.self_attn.q_proj.weight", "model.layers.1.mlp.up_proj.weight"
    there = "blk.1.ffn_up.weight"
    for change, message in (
        ({key: x for key, x in given.items() if key != up}, f"tensor {there} is missing"),
        (given | {q[:-6] + "bias": np.ones(32, np.float32)}, "blk.0.attn_k.bias is missing"),
        (given | {up: np.ones((32, 32), np.float32)}, rf"{there} has shape \(32, 32\)"),
    ):
        write(path, change)
        with pytest.raises(LoadError, match=message):
            load.load(str(path), toys.one_device())


def test_a_file_cut_or_changed_anywhere_is_refused(tmp_path: pathlib.Path):
    path = tmp_path / "m.gguf"
    write(path, tensors(), Type.Q4_0)
    whole = path.read_bytes()
    for size in [0, 3, 7, 20, *range(30, len(whole) - 1, len(whole) // 20)]:
        path.write_bytes(whole[:size])
        with pytest.raises(LoadError, match="m.gguf: (not a whole GGUF file|.* (missing|no size))"):
            load.load(str(path), toys.one_device())
    draws = np.random.default_rng(0)
    for _ in range(60):  # in the header; of the weights, any bytes may be meant
        changed = bytearray(whole)
        changed[draws.integers(0, 900)] ^= int(draws.integers(1, 256))
        path.write_bytes(changed)
        try:
            load.open_config(str(path))
        except LoadError as error:
            assert str(path) in str(error)


def moved(path: pathlib.Path, name: str, kind: int | None = None, at: int | None = None) -> None:
    """Writes another kind or place into the entry of a tensor of two axes."""
    raw = bytearray(path.read_bytes())
    entry = raw.index(name.encode()) + len(name) + 4 + 2 * 8
    if kind is not None:
        raw[entry : entry + 4] = kind.to_bytes(4, "little")
    if at is not None:
        raw[entry + 4 : entry + 12] = at.to_bytes(8, "little")
    path.write_bytes(raw)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"at": 32}, r"not a whole GGUF file \(tensor .* overlaps another\)"),
        ({"at": 1 << 40}, r"not a whole GGUF file \(it ends at byte \d+, inside of token_embd"),
        ({"kind": 9_999}, r"token_embd.weight is quantized in a way \(number 9999\)"),
    ],
)
def test_tensors_that_cannot_be_there_are_refused(
    change: dict[str, int], message: str, tmp_path: pathlib.Path
):
    path = tmp_path / "m.gguf"
    write(path, tensors())
    moved(path, "token_embd.weight", **change)
    with pytest.raises(LoadError, match=f"m.gguf: {message}"):
        load.open_config(str(path))


def test_without_the_package_it_says_what_to_install(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
    write(tmp_path / "m.gguf", tensors())
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(LoadError, match="m.gguf: needs the package gguf: pip install gguf"):
        load.open_config(str(tmp_path / "m.gguf"))
