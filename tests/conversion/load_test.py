import dataclasses
import fnmatch
import json
import pathlib
import sys
import tracemalloc
from typing import Any

import jax
import ml_dtypes
import numpy as np
import pytest
from jax.sharding import Mesh
from safetensors.numpy import load_file, save_file

import hugging_face
import toys
from star_jax.conversion import export, families, load, safetensors
from star_jax.conversion.load import LoadError
from star_jax.models.abstract_params import abstract_params
from star_jax.models.config import for_mesh
from star_jax.runtime import sharding
from toys import eight_devices


def edit(folder: pathlib.Path, **config: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))


def retell(folder: pathlib.Path, change: Any) -> None:
    """Changes the tensors of a folder with one file."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    save_file(change(tensors) or tensors, path, metadata={"format": "pt"})


def by_name(params: Any) -> dict[str, jax.Array]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(params)
    return {jax.tree_util.keystr(path, simple=True, separator="."): x for path, x in leaves}


@pytest.mark.parametrize("name", hugging_face.VARIANTS)
def test_what_was_written_is_read(name: str, tmp_path: pathlib.Path):
    written = hugging_face.write(name, tmp_path / "model")
    loaded = load.load(str(tmp_path / "model"), toys.one_device())
    assert loaded.config == toys.replace(written.config, on_cpu=True)
    assert loaded.family.name == written.family.name
    assert loaded.where == tmp_path / "model"
    assert hugging_face.same(loaded.params, written.params)
    assert load.open_config(str(tmp_path / "model")) == written.config


@eight_devices
@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "qwen3", "gemma3"])
@pytest.mark.parametrize("sizes", [(2, 2, 2), (1, 1, 8), (1, 8, 1)])
def test_weights_lie_where_the_mesh_wants_them(
    name: str, sizes: tuple[int, int, int], tmp_path: pathlib.Path
):
    written = hugging_face.write(name, tmp_path / "model", shard_bytes=4000)
    made = sharding.make_mesh(*sizes)
    loaded = load.load(str(tmp_path / "model"), made)
    assert loaded.config.vocab % sizes[2] == 0
    assert loaded.config.vocab - loaded.config.vocab_padding == hugging_face.VOCAB
    abstract = abstract_params(loaded.config, made)
    assert jax.tree.structure(loaded.params) == jax.tree.structure(abstract)
    for x, shape in zip(jax.tree.leaves(loaded.params), jax.tree.leaves(abstract), strict=True):
        assert (x.shape, x.dtype, x.sharding) == (shape.shape, shape.dtype, shape.sharding)
    padded = by_name(loaded.params)
    for key, x in by_name(written.params).items():
        real = tuple(slice(size) for size in x.shape)
        assert (np.asarray(padded[key])[real] == x).all()
        assert np.count_nonzero(padded[key]) == np.count_nonzero(x)  # padding is zeros


@eight_devices
def test_a_padded_model_computes_the_same(tmp_path: pathlib.Path):
    hugging_face.write("gptj", tmp_path / "model")
    tokens = hugging_face.tokens()
    one = hugging_face.ours(load.load(str(tmp_path / "model"), toys.one_device()), tokens)
    many = load.load(str(tmp_path / "model"), sharding.make_mesh(2, 2, 2))
    found = hugging_face.ours(many, tokens)
    assert found.shape[-1] == 44 and (found[..., 43] < -1e29).all()
    assert np.abs(found[..., :43] - one).max() < 1e-4


@eight_devices
def test_everything_is_read_once(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
    hugging_face.write("llama", tmp_path / "model")
    read: list[tuple] = []
    original = safetensors.SafetensorsFolder.read

    def counted(self: safetensors.SafetensorsFolder, name: str, ranges: tuple) -> np.ndarray:
        read.append((name, ranges))
        return original(self, name, ranges)

    monkeypatch.setattr(safetensors.SafetensorsFolder, "read", counted)
    load.load(str(tmp_path / "model"), sharding.make_mesh(2, 2, 2))
    assert len(read) == len(set(read))
    sizes = [int(np.prod([stop - start for start, stop in ranges])) for _, ranges in read]
    assert sum(sizes) == sum(
        x.size for x in load_file(tmp_path / "model/model.safetensors").values()
    )


@pytest.mark.parametrize("stored", [np.float16, ml_dtypes.bfloat16, np.float32])
@pytest.mark.parametrize("weights", ["float32", "bfloat16"])
def test_types_of_weights(stored: Any, weights: str, tmp_path: pathlib.Path):
    hugging_face.write("mistral", tmp_path / "model")
    retell(tmp_path / "model", lambda ts: {key: x.astype(stored) for key, x in ts.items()})
    loaded = load.load(
        str(tmp_path / "model"), toys.one_device(), dtype="bfloat16", param_dtype=weights
    )
    assert (loaded.config.compute.dtype, loaded.config.compute.param_dtype) == ("bfloat16", weights)
    gate = by_name(loaded.params)["blocks.mlp.gate.value"][2]
    expected = load_file(tmp_path / "model/model.safetensors")[
        "model.layers.2.mlp.gate_proj.weight"
    ]
    assert gate.dtype == weights and (np.asarray(gate) == expected.T.astype(gate.dtype)).all()


def test_other_types_to_keep_weights_in_are_refused(tmp_path: pathlib.Path):
    hugging_face.write("mistral", tmp_path / "model")
    with pytest.raises(ValueError, match="'float16': a type must be 'float32' or 'bfloat16'"):
        load.load(str(tmp_path / "model"), toys.one_device(), param_dtype="float16")


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "llama"])
def test_files_of_a_model_without_its_head_leave_the_prefix_away(name: str, tmp_path: pathlib.Path):
    written = hugging_face.write(name, tmp_path / "model")
    prefix = written.family.prefix
    retell(tmp_path / "model", lambda ts: {key.removeprefix(prefix): x for key, x in ts.items()})
    loaded = load.load(str(tmp_path / "model"), toys.one_device())
    assert hugging_face.same(loaded.params, written.params)


def test_buffers_of_old_files_are_passed_over(tmp_path: pathlib.Path):
    hugging_face.write("gpt2", tmp_path / "model")
    mask = np.tril(np.ones((1, 1, 32, 32), bool))
    buffers = {
        "transformer.h.0.attn.bias": mask,
        "transformer.h.2.attn.masked_bias": np.float32(-1),
    }
    retell(tmp_path / "model", lambda ts: {**ts, **{k: np.asarray(v) for k, v in buffers.items()}})
    load.load(str(tmp_path / "model"), toys.one_device())


@pytest.mark.parametrize("same", [True, False])
def test_a_tied_head_that_is_stored_must_be_the_embedding(same: bool, tmp_path: pathlib.Path):
    hugging_face.write("gpt2", tmp_path / "model")

    def add(tensors: dict[str, np.ndarray]) -> None:
        head = tensors["transformer.wte.weight"].copy()
        head[-1, -1] += 0 if same else 1
        tensors["lm_head.weight"] = head

    retell(tmp_path / "model", add)
    if same:
        load.load(str(tmp_path / "model"), toys.one_device())
    else:
        with pytest.raises(LoadError, match=r"lm_head.weight is not transformer.wte.weight, and"):
            load.load(str(tmp_path / "model"), toys.one_device())


Q = "model.layers.1.self_attn.q_proj.weight"
BAD: dict[str, tuple[Any, str]] = {
    "adapter": (
        lambda where: (where / "adapter_config.json").write_text('{"peft_type": "LORA"}'),
        r"holds an adapter \(adapter_config.json LORA\) for a base model, which would be left out",
    ),
    "compiled": (
        lambda where: retell(where, lambda ts: {f"_orig_mod.{key}": x for key, x in ts.items()}),
        r"is missing; _orig_mod\.model\.\S+ is there, as it is called inside of a wrapper",
    ),
    "missing tensor": (
        lambda where: retell(where, lambda ts: {key: x for key, x in ts.items() if key != Q}),
        f"tensor {Q} is missing",
    ),
    "unexpected tensor": (
        lambda where: retell(where, lambda ts: {**ts, "model.layers.0.x": ts[Q]}),
        r"model.safetensors: tensor model.layers.0.x is unexpected \(1 in all\)",
    ),
    "more layers than said": (
        lambda where: edit(where, num_hidden_layers=2),
        r"tensor model.layers.2.\S+ is unexpected \(\d+ in all\)",
    ),
    "fewer layers than said": (
        lambda where: edit(where, num_hidden_layers=4),
        r"tensor model.layers.3.\S+ is missing",
    ),
    "shape": (
        lambda where: retell(where, lambda ts: {**ts, Q: ts[Q][:-1]}),
        rf"tensor {Q} has shape \(31, 24\), and config.json asks for \(32, 24\)",
    ),
    "transposed": (
        lambda where: retell(where, lambda ts: {**ts, Q: np.ascontiguousarray(ts[Q].T)}),
        rf"tensor {Q} has shape \(24, 32\)",
    ),
    "type": (
        lambda where: retell(where, lambda ts: {**ts, Q: ts[Q].astype(np.int8)}),
        rf"tensor {Q} has type I8; weights must be one of F32, F16, BF16",
    ),
    "double": (
        lambda where: retell(where, lambda ts: {**ts, Q: ts[Q].astype(np.float64)}),
        rf"tensor {Q} has type F64",
    ),
    "tied by mistake": (
        lambda where: edit(where, tie_word_embeddings=True),
        "lm_head.weight is not model.embed_tokens.weight",
    ),
    "unknown key": (
        lambda where: edit(where, moe=True),
        "config.json: moe = True: is unknown here",
    ),
    "no config": (lambda where: (where / "config.json").unlink(), "config.json: cannot be read"),
    "no JSON": (lambda where: (where / "config.json").write_text("{,"), "config.json: not JSON"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_models_are_refused(name: str, tmp_path: pathlib.Path):
    folder = tmp_path / "model"
    hugging_face.write("llama", folder)
    damage, message = BAD[name]
    damage(folder)
    with pytest.raises(LoadError, match=message) as caught:
        load.load(str(folder), toys.one_device())
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("tensor", [Q, "model.norm.weight", "lm_head.weight"])
@pytest.mark.parametrize(
    ("value", "stored", "weights"),
    [
        (np.nan, np.float32, "float32"),
        (np.inf, np.float16, "float32"),
        (-np.inf, ml_dtypes.bfloat16, "float32"),
        (np.nan, np.float32, "bfloat16"),
        (-np.inf, ml_dtypes.bfloat16, "bfloat16"),
        (3.4e38, np.float32, "bfloat16"),  # too large for that type alone
    ],
)
def test_weights_that_are_no_numbers_are_refused(
    tmp_path: pathlib.Path, tensor: str, value: float, stored: Any, weights: str
):
    def damage(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        found = {key: x.astype(stored) for key, x in tensors.items()}
        found[tensor].reshape(-1)[-1] = value
        return found

    hugging_face.write("llama", tmp_path / "model")
    load.load(str(tmp_path / "model"), toys.one_device(), param_dtype=weights)
    retell(tmp_path / "model", damage)
    says = rf"model\.safetensors: tensor {tensor} holds NaN or infinity in {weights}: it is damaged"
    with pytest.raises(LoadError, match=says):
        load.load(str(tmp_path / "model"), toys.one_device(), param_dtype=weights)


class TestHub:
    """The hub's client is replaced: it makes a folder as the real one does."""

    @pytest.fixture
    def asked(self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
        hugging_face.write("qwen2", tmp_path / "model")
        calls = []

        def snapshot_download(name: str, *, allow_patterns: list[str]) -> str:
            calls.append((name, allow_patterns))
            if name == "owner/unknown":
                raise FileNotFoundError("404")
            return str(tmp_path / "model")

        client = type(sys)("huggingface_hub")
        client.snapshot_download = snapshot_download  # pyright: ignore[reportAttributeAccessIssue]
        monkeypatch.setitem(sys.modules, "huggingface_hub", client)
        monkeypatch.chdir(tmp_path)
        return calls

    def test_a_name_is_downloaded(self, asked: list[Any]):
        loaded = load.load("owner/name-1.5B", toys.one_device())
        assert loaded.config == toys.replace(hugging_face.config("qwen2"), on_cpu=True)
        [(name, patterns)] = asked
        assert name == "owner/name-1.5B"
        taken = {
            path
            for path in ("model-00001-of-00002.safetensors", "tokenizer.json", "x.bin", "x.py")
            if any(fnmatch.fnmatch(path, pattern) for pattern in patterns)
        }
        assert taken == {"model-00001-of-00002.safetensors", "tokenizer.json"}

    def test_the_shape_needs_the_configuration_only(self, asked: list[Any]):
        assert load.open_config("owner/name") == hugging_face.config("qwen2")
        assert asked == [("owner/name", ["config.json", "adapter_config.json"])]

    def test_an_unknown_name(self, asked: list[Any]):
        with pytest.raises(LoadError, match=r"owner/unknown: no such folder here.*\(404\)"):
            load.load("owner/unknown", toys.one_device())


@pytest.mark.parametrize(
    ("sizes", "vocab", "expected"),
    [((8, 1, 1), 43, 0), ((2, 2, 2), 43, 1), ((1, 1, 8), 43, 5), ((1, 1, 8), 48, 0)],
)
@eight_devices
def test_the_vocabulary_is_padded_for_the_mesh(sizes: tuple, vocab: int, expected: int):
    made: Mesh = sharding.make_mesh(*sizes)
    config = dataclasses.replace(toys.SMALL, vocab=vocab)
    fitted = for_mesh(config, made, param_dtype="bfloat16")
    assert (fitted.vocab, fitted.vocab_padding) == (vocab + expected, expected)
    assert for_mesh(fitted, made, param_dtype="bfloat16") == fitted


def test_the_host_holds_the_weights_and_a_tensor(tmp_path: pathlib.Path):
    sizes = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 8}
    values = {**hugging_face.values("llama-old"), **sizes}
    family, config = families.read_config(values, "config.json")
    params = toys.params(config)
    export.export(params, config, family, values, None, tmp_path / "model")
    weights = sum(x.nbytes for x in jax.tree.leaves(params))
    tensor = max(x.nbytes for x in jax.tree.leaves(params)) // config.layers
    assert weights > 20 * tensor
    load.load(str(tmp_path / "model"), toys.one_device())  # what is imported and traced stays
    tracemalloc.start()
    load.load(str(tmp_path / "model"), toys.one_device(), param_dtype="bfloat16")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < weights / 2 + 4 * tensor  # of two bytes, on a CPU where they were read to
