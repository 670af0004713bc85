"""Ours against transformers on torch: decoding with a cache, packing, gradients, export."""

import copy
import functools
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import hugging_face as hf
import toys
from star_jax.conversion import export, load
from star_jax.data import packing
from star_jax.data.packing import Example, Packed
from star_jax.models import kv_cache
from star_jax.models.attention import attend_segments
from star_jax.models.config import ModelConfig
from star_jax.storage.checkpoint import named as named_leaves
from star_jax.training import step as step_lib

TOLERANCE = 2e-4  # largest difference of a logit
PREFILLED = 9
EVERY = pytest.mark.parametrize("name", hf.VARIANTS)
SEEDS = pytest.mark.parametrize("seed", range(3))

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Each variant and seed once: the model of transformers, and ours, loaded from its folder."""

    @functools.cache
    def make(name: str, seed: int = 0) -> tuple[Any, load.Loaded]:
        folder = tmp_path_factory.mktemp(name) / "model"
        theirs = hf.make(name, folder, seed)
        return theirs, load.load(str(folder), toys.one_device())

    return make


@functools.partial(jax.jit, static_argnums=0)
def prefill(config: ModelConfig, params: Any, tokens: Any, start: Any, prefix: Any) -> Any:
    return kv_cache.prefill(nnx.merge(toys.graph(config), params), tokens, start, prefix)


@functools.partial(jax.jit, static_argnums=0)
def step(config: ModelConfig, params: Any, token: Any, cache: Any, prefix: Any) -> Any:
    return kv_cache.step(nnx.merge(toys.graph(config), params), token, cache, prefix)


@functools.partial(jax.jit, static_argnums=0)
def make_prefix(config: ModelConfig, params: Any, tokens: Any) -> Any:
    model = nnx.merge(toys.graph(config), params)
    return kv_cache.make_prefix(model, tokens, jnp.int32(tokens.shape[0]))


@SEEDS
@EVERY
@pytest.mark.parametrize("shared", [0, 5], ids=["alone", "behind a shared prefix"])
def test_decoding_with_a_cache_gives_their_logits(models: Any, name: str, shared: int, seed: int):
    theirs, loaded = models(name, seed)
    whole = hf.tokens(seed)
    whole[:, :shared] = whole[0, :shared]
    expected = hf.theirs(theirs, whole)
    config, params = loaded.config, loaded.params
    prefix = make_prefix(config, params, jnp.asarray(whole[0, :shared])) if shared else None
    # the second row's prompt is two tokens shorter: padded on the left, and read two steps later
    late = np.array([0, 2])
    prompts = np.zeros((2, PREFILLED), np.int32)
    for row, padding in enumerate(late):
        prompts[row, padding:] = whole[row, shared : shared + PREFILLED - padding]
    logits, asked = prefill(config, params, jnp.asarray(prompts), jnp.asarray(late), prefix)
    cache = kv_cache.init(nnx.merge(toys.graph(config), params), asked, hf.LENGTH + 2 - PREFILLED)
    at = shared + PREFILLED - 1 - late
    while True:
        found = np.asarray(logits)[:, : hf.VOCAB]
        np.testing.assert_allclose(found, expected[[0, 1], at], atol=TOLERANCE, rtol=0)
        at = at + 1
        if at.max() == hf.LENGTH:
            break
        token = jnp.asarray(whole[[0, 1], at], jnp.int32)
        logits, cache = step(config, params, token, cache, prefix)


def documents(seed: int = 7) -> list[Example]:
    draws = np.random.default_rng(seed)
    sizes = (7, 11, 5, 24, 3)
    found = []
    for size in sizes:
        weights = np.ones(size, np.float32)
        weights[0] = 0  # nothing comes before it
        found.append(Example(draws.integers(0, hf.VOCAB, size).astype(np.int32), weights))
    return found


@functools.partial(jax.jit, static_argnums=0)
@functools.partial(jax.value_and_grad, argnums=1, has_aux=True)
def loss_and_gradients(config: ModelConfig, params: Any, batch: Packed) -> Any:
    return step_lib.token_loss(nnx.merge(toys.graph(config), params), batch)


def their_loss(torch: Any, model: Any) -> Any:
    """Summed cross-entropy of every document by itself."""
    losses = []
    for document in documents():
        tokens = torch.tensor(document.tokens[None].astype(np.int64))
        logits = model(tokens).logits[0, :-1]
        losses.append(torch.nn.functional.cross_entropy(logits, tokens[0, 1:], reduction="sum"))
    return sum(losses)


@functools.partial(jax.jit, static_argnums=0)
def packed_logits(config: ModelConfig, params: Any, batch: Packed) -> Any:
    model = nnx.merge(toys.graph(config), params)
    attend = attend_segments(batch.segments)
    return model.logits(model.hidden(batch.tokens, batch.positions, attend)[0])


def error(found: np.ndarray, exact: np.ndarray) -> float:
    return float(np.sqrt(np.square(found - exact).mean()))


@EVERY
def test_bfloat16_is_no_further_from_float32_than_theirs(models: Any, name: str):
    torch, _ = hf.torch_and_transformers()
    mine, other, tokens = [], [], hf.tokens()
    for seed in range(3):
        theirs, loaded = models(name, seed)
        exact = hf.theirs(theirs, tokens)
        where = str(loaded.where)
        half = load.load(where, toys.one_device(), dtype="bfloat16", param_dtype="bfloat16")
        mine.append(error(hf.ours(half, tokens)[..., : hf.VOCAB], exact))
        other.append(error(hf.theirs(copy.deepcopy(theirs).to(torch.bfloat16), tokens), exact))
    assert 0 < np.mean(mine) < 1.15 * np.mean(other)


@SEEDS
@EVERY
def test_documents_in_a_row_padded_on_the_right_have_the_logits_of_each(
    models: Any, name: str, seed: int
):
    theirs, loaded = models(name, seed)
    packed = packing.pack(documents(seed), hf.LENGTH)
    assert (packed.segments[:, -1] == 0).any(), "a row that ends in padding"
    found = np.asarray(packed_logits(loaded.config, loaded.params, toys.batch(packed)))
    seen = 0
    for tokens, segments, logits in zip(packed.tokens, packed.segments, found, strict=True):
        for segment in range(1, segments.max() + 1):
            there = segments == segment
            expected = hf.theirs(theirs, tokens[None, there])[0]
            np.testing.assert_allclose(logits[there, : hf.VOCAB], expected, atol=TOLERANCE, rtol=0)
            seen += 1
    assert seen == len(documents())


@EVERY
def test_the_loss_of_packed_documents_is_that_of_each_by_itself(models: Any, name: str):
    torch, _ = hf.torch_and_transformers()
    theirs, loaded = models(name)
    batch = toys.batch(packing.pack(documents(), hf.LENGTH))
    (found, _), _ = loss_and_gradients(loaded.config, loaded.params, batch)
    with torch.no_grad():
        assert float(found) == pytest.approx(float(their_loss(torch, theirs)), rel=1e-5)


@EVERY
def test_gradients_are_theirs(models: Any, name: str):
    torch, _ = hf.torch_and_transformers()
    theirs, loaded = models(name)
    batch = toys.batch(packing.pack(documents(), hf.LENGTH))
    _, gradients = loss_and_gradients(loaded.config, loaded.params, batch)
    theirs.zero_grad()
    their_loss(torch, theirs).backward()
    # GPT-NeoX has its head in files under a name of their own
    files = {"lm_head.weight": loaded.family.stored("head.value", loaded.config).tensor}
    named = {files.get(key, key): weight.grad for key, weight in theirs.named_parameters()}
    parts = export.by_layer(named_leaves(gradients), loaded.config.layers)
    sizes: dict[str, Any] = {}  # of a tensor: squares of the difference, and of the gradient
    for name, gradient in parts.items():
        place = loaded.family.stored(name, loaded.config)
        whole = named[place.tensor].numpy()
        cut = [(0, size) for size in place.weight_shape]
        expected = place.read(cut, lambda ranges, x=whole: x[tuple(slice(*r) for r in ranges)])
        found = np.asarray(gradient())[tuple(slice(size) for size in expected.shape)]
        parts = np.array([np.square(found - expected).sum(), np.square(expected).sum()])
        sizes[place.tensor] = sizes.get(place.tensor, 0) + parts
    assert sizes.keys() == named.keys()
    errors = {tensor: np.sqrt(error / size) for tensor, (error, size) in sizes.items()}
    assert max(errors.values()) < 1e-3, errors


@EVERY
def test_an_export_of_what_was_loaded_has_their_logits(
    models: Any, name: str, tmp_path: pathlib.Path
):
    _, transformers = hf.torch_and_transformers()
    theirs, loaded = models(name)
    folder = tmp_path / "export"
    export.export(loaded.params, loaded.config, loaded.family, loaded.hf_config, None, folder)
    opened, said = transformers.AutoModelForCausalLM.from_pretrained(
        folder, output_loading_info=True, attn_implementation="eager"
    )
    assert not any(said.values())
    tokens = hf.tokens()
    np.testing.assert_allclose(
        hf.theirs(opened.eval(), tokens), hf.theirs(theirs, tokens), atol=1e-5
    )
