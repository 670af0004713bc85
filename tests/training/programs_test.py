"""The programs of training, compiled: what an update does, on every mesh."""

import dataclasses

import jax
import numpy as np
import pytest

import toys
from star_jax.data import packing
from star_jax.models.params import Params
from star_jax.runtime import sharding
from star_jax.storage import checkpoint
from tests.inference.programs_test import ONE, PREFIX, made, start
from toys import BYTES, eight_devices

PACKED = packing.pack(toys.documents([24, 9, 13, 5, 17, 24, 20, 3, 11, 8, 22, 6], 259), 24)


@eight_devices
@pytest.mark.parametrize("devices", [(2, 1, 4), (2, 2, 2)])
def test_gradients_are_those_of_one_device_where_keys_split_into_fewer_heads(
    devices: tuple[int, int, int],
):
    config = dataclasses.replace(
        toys.EVERYTHING, layers=2, windows=(), heads=8, kv_heads=2, vocab=BYTES.vocab
    )
    batch = PACKED.rows(np.arange(8) % len(PACKED))
    moved = {}
    for each in (ONE, devices):
        grid = sharding.make_mesh(*each, devices=jax.devices()[: int(np.prod(each))])
        programs = toys.programs(grid, config=config, prefix=16, show=True)
        programs.compiler.finish()
        layout = jax.tree.map(lambda x: x.sharding, programs.params)
        learner = programs.update.begin(jax.device_put(toys.params(config), layout))
        learner, read = programs.update.update(learner, batch, 1e-2, PREFIX)
        programs.compiler.stop()
        moved[each] = {**checkpoint.named(learner.params), "norm": read()["gradient_norm"]}
    for name, found in moved[devices].items():
        np.testing.assert_allclose(found, moved[ONE][name], rtol=2e-4, atol=2e-5, err_msg=name)


def learn(programs: toys.Programs, steps: int) -> tuple[Params, list[dict[str, float]]]:
    learner, heard = programs.update.begin(start(programs)), []
    for batch in packing.batches(PACKED, 8, seed=0, steps=steps):
        learner, read = programs.update.update(learner, batch, 1e-2)
        heard.append(read())
    return learner.params, heard


def test_what_is_computed_again_learns_the_same():
    spec = dataclasses.replace(toys.UPDATE, remat="blocks")
    programs = toys.programs(toys.one_device(), spec=spec)
    programs.compiler.finish()
    (plain, metrics), (again, others) = (learn(p, 3) for p in (made(ONE), programs))
    for a, b in zip(metrics, others, strict=True):
        assert a == pytest.approx(b, rel=1e-4)
    for x, y in zip(jax.tree.leaves(plain), jax.tree.leaves(again), strict=True):
        assert np.linalg.norm(np.asarray(x) - np.asarray(y)) <= 1e-4 * np.linalg.norm(x)


def test_there_is_one_copy_of_the_learner_in_memory():
    programs = made(ONE)
    base = programs.init(0)
    before = [np.array(x) for x in jax.tree.leaves(base)]
    first = learner = programs.update.begin(base)
    assert all(map(np.array_equal, before, jax.tree.leaves(learner.params)))
    for batch in packing.batches(PACKED, 8, seed=0, steps=3):
        learner, _ = programs.update.update(learner, batch, 1e-2)
    assert all(x.is_deleted() for x in jax.tree.leaves((base, first.params)))


def test_every_learner_begins_with_a_fresh_optimizer():
    # the released code goes on with the pretraining run's Adam moments
    programs = made(ONE)
    learner = programs.update.begin(start(programs))
    learner, _ = programs.update.update(learner, PACKED.rows(np.zeros(8, np.int64)), 1e-2)
    assert any(np.any(x) for x in jax.tree.leaves(learner.opt_state))
    learned = [np.array(x) for x in jax.tree.leaves(learner.params)]
    again = programs.update.begin(learner.params)
    assert not any(np.any(x) for x in jax.tree.leaves((again.opt_state, again.step)))
    assert all(map(np.array_equal, jax.tree.leaves(again.params), learned))


def test_weights_follow_from_the_seed():
    one, same, other = (jax.tree.leaves(made(ONE).init(seed)) for seed in (0, 0, 1))
    assert all(map(np.array_equal, one, same)) and not all(map(np.array_equal, one, other))


@eight_devices
@pytest.mark.parametrize("devices", [(8, 1, 1), (1, 8, 1), (2, 2, 2)], ids=str)
class TestMesh:
    def test_training_is_the_same_to_rounding(self, devices: tuple[int, int, int]):
        (one, metrics), (many, others) = (learn(p, 3) for p in (made(ONE), made(devices)))
        for a, b in zip(metrics, others, strict=True):
            assert a == pytest.approx(b, rel=1e-4)
        for x, y in zip(jax.tree.leaves(one), jax.tree.leaves(many), strict=True):
            assert np.linalg.norm(np.asarray(x) - np.asarray(y)) <= 1e-4 * np.linalg.norm(x)

    def test_first_weights_are_the_same(self, devices: tuple[int, int, int]):
        one, many = (jax.tree.leaves(made(mesh).init(7)) for mesh in (ONE, devices))
        for x, y in zip(one, many, strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-6, atol=1e-7)

    def test_weights_lie_where_they_should(self, devices: tuple[int, int, int]):
        programs = made(devices)
        learner = programs.update.begin(programs.init(0))
        after, _ = programs.update.update(learner, PACKED.rows(np.zeros(8, np.int64)), 1e-2)
        wanted = [x.sharding for x in jax.tree.leaves(programs.update.state)]
        for found, wanted_sharding in zip(jax.tree.leaves(after), wanted, strict=True):
            assert found.sharding.is_equivalent_to(wanted_sharding, found.ndim)
