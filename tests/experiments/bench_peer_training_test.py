"""The peer of the trainer (experiments/bench/peer_training.py) on small models."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import hugging_face
import toys
from experiments.bench import peer_training
from experiments.bench.peer_training import Peer, Setting
from star_jax.conversion import load
from star_jax.data import packing
from star_jax.training import step

BATCH = packing.pack(toys.documents([9, 5, 4, 12, 7, 16, 3, 11], hugging_face.VOCAB), 24)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    hugging_face.torch_and_transformers()
    path = tmp_path_factory.mktemp("llama")
    hugging_face.make("llama-old", path)
    return path


def test_loss_and_gradient_are_ours(folder: pathlib.Path):
    loaded = load.load(str(folder), toys.one_device())

    def loss(params: object) -> jax.Array:
        model = nnx.merge(toys.graph(loaded.config), params)
        return step.token_loss(model, toys.batch(BATCH))[0]

    ours, gradient = jax.jit(jax.value_and_grad(loss))(loaded.params)
    peer = Peer(folder, Setting())
    theirs = peer.loss(BATCH)
    theirs.backward()
    np.testing.assert_allclose(theirs.item(), ours, rtol=1e-5)
    norms = [float(x.grad.norm()) for x in peer.model.parameters()]
    np.testing.assert_allclose(np.linalg.norm(norms), optax.tree.norm(gradient), rtol=1e-4)


@pytest.mark.parametrize(("micro_batch", "checkpointing"), [(1, False), (2, True), (0, True)])
def test_settings_do_not_change_the_update(
    micro_batch: int, checkpointing: bool, folder: pathlib.Path
):
    found = []
    for setting in (Setting(), Setting("float32", micro_batch, checkpointing)):
        peer = Peer(folder, setting)
        losses = [peer.update(BATCH), peer.update(BATCH)]
        found.append([*losses, *(x.detach().numpy() for x in peer.model.parameters())])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=2e-6)
    assert found[0][1] < found[0][0]


def test_bfloat16_is_about_the_same(folder: pathlib.Path):
    one, other = (Peer(folder, Setting(dtype)).update(BATCH) for dtype in ("float32", "bfloat16"))
    assert one != other and abs(one - other) < 0.05 * one


def test_a_process_of_its_own_says_time_and_memory(
    folder: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(pathlib.Path(__file__).parents[2])
    peer_training.save(BATCH, tmp_path / "batch.npz")
    found = peer_training.measure(folder, tmp_path / "batch.npz", Setting(), steps=2)
    assert found.tokens == int(jnp.sum(BATCH.segments > 0))
    assert found.losses[0] == pytest.approx(Peer(folder, Setting()).update(BATCH), rel=1e-4)
    assert len(found.seconds) == 1 and found.seconds[0] > 0
    assert 100 < found.peak_mib < 5000


def test_a_setting_says_what_it_is():
    assert str(Setting("bfloat16", 1, True)) == "bfloat16, micro-batch 1, checkpointing"
    assert str(Setting()) == "float32, whole batch"
