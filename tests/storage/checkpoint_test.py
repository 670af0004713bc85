import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import toys
from star_jax.models.abstract_params import abstract_params
from star_jax.runtime import sharding
from star_jax.storage.checkpoint import CheckpointError, Checkpoints
from star_jax.training import state
from toys import SMALL, eight_devices

LEARNER = state.init_state(toys.params(SMALL), toys.optimizer())


def abstract(tree: Any) -> Any:
    layout = sharding.sharding(toys.one_device())
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=layout), tree)


def same(found: Any, expected: Any) -> None:
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert (x.dtype, np.asarray(x).tobytes()) == (y.dtype, np.asarray(y).tobytes())


def test_what_is_saved_is_restored_byte_for_byte(tmp_path: pathlib.Path):
    awkward = {"a": jnp.array([np.nan, -0.0, 1e-40], jnp.float32), "b": [jnp.int32(7)]}
    for number, tree in enumerate((LEARNER, LEARNER.params, awkward)):
        checkpoints = Checkpoints(tmp_path / str(number))
        checkpoints.save(3, tree)
        checkpoints.close()
        again = Checkpoints(tmp_path / str(number))
        same(again.restore(3, abstract(tree)), tree)
        again.close()


def test_a_new_folder_holds_nothing(tmp_path: pathlib.Path):
    checkpoints = Checkpoints(tmp_path / "deep" / "folder")
    assert checkpoints.latest() is None and not checkpoints.has(0)
    checkpoints.close()


def test_what_cannot_be_saved_is_said(tmp_path: pathlib.Path):
    checkpoints = Checkpoints(tmp_path)
    for number in (0, 3):
        checkpoints.save(number, {"x": jnp.ones(2)})
    for number in (2, 3):
        with pytest.raises(CheckpointError, match=f"{number} is not above what is there"):
            checkpoints.save(number, {"x": jnp.ones(2)})
    checkpoints.close()


def test_a_reader_leaves_what_another_is_writing(tmp_path: pathlib.Path):
    tree = {"x": jnp.arange(3.0)}
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(0, tree)
    half = tmp_path / "1.orbax-checkpoint-tmp"
    half.mkdir()
    reader = Checkpoints(tmp_path, read_only=True)
    same(reader.restore(0, abstract(tree)), tree)
    reader.close()
    assert half.exists()
    writer = Checkpoints(tmp_path)
    writer.save(2, tree)
    assert not half.exists()
    writer.close()
    checkpoints.close()


@pytest.mark.parametrize(("keep", "kept"), [(None, [0, 1, 4, 9]), (2, [4, 9]), (1, [9])])
def test_the_newest_are_kept(tmp_path: pathlib.Path, keep: int | None, kept: list[int]):
    checkpoints = Checkpoints(tmp_path, keep)
    trees = {number: {"x": jnp.full(2, number)} for number in (0, 1, 4, 9)}
    for number, tree in trees.items():
        checkpoints.save(number, tree)
        assert checkpoints.latest() == number
    checkpoints.close()
    again = Checkpoints(tmp_path, keep)
    assert [number for number in range(12) if again.has(number)] == kept
    for number in kept:
        same(again.restore(number, abstract(trees[number])), trees[number])
    again.close()


def test_a_save_that_was_cut_short_is_not_there(tmp_path: pathlib.Path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {"x": jnp.ones(2)})
    checkpoints.close()
    half = tmp_path / "2.orbax-checkpoint-tmp"
    half.mkdir()
    (half / "default").mkdir()
    again = Checkpoints(tmp_path)
    assert again.latest() == 1 and not again.has(2)
    again.save(2, {"x": jnp.zeros(2)})
    assert again.latest() == 2
    again.close()


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ({"a": np.ones(2), "c": np.ones(3)}, "c is missing"),
        ({"a": np.ones(2)}, "b.c is not in the model"),
        ({"a": np.ones((2, 1)), "b": {"c": np.ones(3)}}, r"a has shape \(2,\), the model's \(2, 1\)"),
        ({"a": np.ones(3), "b": {"c": np.ones(3)}}, r"a has shape \(2,\), the model's \(3,\)"),
    ],
)  # fmt: skip
def test_another_model_is_told_what_differs(tmp_path: pathlib.Path, wanted: Any, says: str):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(5, {"a": jnp.ones(2), "b": {"c": jnp.ones(3)}})
    with pytest.raises(CheckpointError, match=rf"{tmp_path}/5 is of another model: {says}"):
        checkpoints.restore(5, abstract(wanted))
    checkpoints.close()


@eight_devices
def test_what_one_mesh_saved_another_restores(tmp_path: pathlib.Path):
    checkpoints = Checkpoints(tmp_path)
    params = toys.params(SMALL)
    split = abstract_params(SMALL, sharding.make_mesh(2, 2, 2))
    checkpoints.save(0, jax.device_put(params, jax.tree.map(lambda x: x.sharding, split)))
    whole = checkpoints.restore(0, abstract_params(SMALL, toys.one_device()))
    same(whole, params)
    checkpoints.save(1, whole)
    again = checkpoints.restore(1, split)
    same(again, params)
    assert [x.sharding for x in jax.tree.leaves(again)] == [
        x.sharding for x in jax.tree.leaves(split)
    ]
    checkpoints.close()


def test_only_the_numbers_asked_for_are_kept(tmp_path: pathlib.Path):
    checkpoints = Checkpoints(tmp_path)
    trees = [{"x": jnp.float32(number)} for number in range(4)]
    for number, tree in enumerate(trees):
        checkpoints.save(number, tree)
    checkpoints.keep_only({0, 2, 7})
    assert [number for number in range(4) if checkpoints.has(number)] == [0, 2]
    same(checkpoints.restore(2, abstract(trees[2])), trees[2])
    checkpoints.close()
