import jax
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from star_jax import mesh
from toys import eight_devices

NONE = {"data": 1, "fsdp": 1, "tensor": 1}


@eight_devices
@pytest.mark.parametrize(
    ("sizes", "shape"),
    [
        ((-1, 1, 1), (8, 1, 1)),
        ((8, 1, 1), (8, 1, 1)),
        ((2, -1, 2), (2, 2, 2)),
        ((1, 1, -1), (1, 1, 8)),
    ],
)
def test_make_mesh_lays_all_devices_out(sizes: tuple[int, int, int], shape: tuple[int, ...]):
    made = mesh.make_mesh(*sizes)
    assert (made.axis_names, made.devices.shape) == (mesh.AXES, shape)
    assert made.devices.flatten().tolist() == jax.devices()


def test_make_mesh_over_the_devices_it_is_given():
    assert mesh.make_mesh().devices.size == len(jax.devices())
    made = mesh.make_mesh(devices=jax.devices()[:1])
    assert (dict(made.shape), mesh.batch_multiple(made)) == (NONE, 1)


def test_what_nobody_lays_out_is_left_to_the_compiler_on_every_mesh():
    for made in (mesh.make_mesh(), mesh.without_devices(2, 4)):
        assert made.axis_types == (AxisType.Auto,) * 3
    assert dict(mesh.without_devices(2, 4).shape) == {"data": 2, "fsdp": 4, "tensor": 1}


@pytest.mark.parametrize(
    "sizes",
    [
        (3, 1, 1),
        (-1, 3, 1),
        (-1, -1, 1),
        (-1, -1, len(jax.devices())),
        (0, 1, 1),
        (-2, 1, 1),
        (-1, 16, 1),
    ],
)
def test_sizes_that_do_not_fit_are_refused(sizes: tuple[int, int, int]):
    says = rf"config.mesh is data={sizes[0]} fsdp={sizes[1]} tensor={sizes[2]}.*{len(jax.devices())} devices"
    with pytest.raises(ValueError, match=says):
        mesh.make_mesh(*sizes)


@pytest.mark.parametrize(
    ("axes", "expected"),
    [
        ((), ()),
        (("batch",), (("data", "fsdp"),)),
        (("batch", "length"), (("data", "fsdp"), None)),
        (("embed", "heads", "head_dim"), ("fsdp", "tensor", None)),
        (("vocab", "embed"), ("tensor", "fsdp")),
        ((None, "hidden"), (None, "tensor")),
    ],
)
def test_spec_follows_the_table(axes: tuple[str | None, ...], expected: tuple):
    assert mesh.spec(axes) == PartitionSpec(*expected)


def test_the_table_names_only_axes_of_the_mesh():
    for value in mesh.RULES.values():
        assert (
            {value} <= {None, *mesh.AXES}
            if not isinstance(value, tuple)
            else set(value) <= set(mesh.AXES)
        )


def test_an_axis_without_a_rule_is_an_error():
    with pytest.raises(KeyError, match="depth"):
        mesh.spec(["depth"])


@eight_devices
def test_place_splits_the_batch_over_data_and_fsdp_and_copies_the_rest():
    made = mesh.make_mesh(2, 2, 2)
    assert mesh.batch_multiple(made) == 4
    rows = np.arange(24).reshape(8, 3)
    split, whole = mesh.place(made, rows, "batch"), mesh.place(made, {"x": rows})["x"]
    assert {shard.data.shape for shard in split.addressable_shards} == {(2, 3)}
    assert {shard.data.shape for shard in whole.addressable_shards} == {(8, 3)}
    assert len(split.sharding.device_set) == 8 and whole.sharding.is_fully_replicated
    assert (np.asarray(split) == rows).all() and (np.asarray(whole) == rows).all()


@eight_devices
def test_one_process_holds_and_owns_all_rows():
    made = mesh.make_mesh(2, 2, 2)
    rows = np.arange(24, dtype=np.int32).reshape(8, 3)
    assert (mesh.held(mesh.place(made, rows, "batch")) == rows).all()
    assert mesh.owners(made, 8) == [0] * 8


@eight_devices
@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((16, 8, 4), ("fsdp", "tensor", None)),
        ((16, 2, 4), ("fsdp", None, None)),  # two heads do not split over four devices
        ((15, 4, 4), (None, "tensor", None)),
    ],
)
def test_an_axis_that_does_not_divide_is_whole(shape: tuple[int, ...], expected: tuple):
    made = mesh.make_mesh(1, 2, 4)
    found = mesh.fitting(made, shape, ("embed", "kv_heads", "head_dim"))
    assert found.spec == PartitionSpec(*expected)


def test_of_cpus_is_asked_of_devices_that_are_there():
    here = mesh.make_mesh(devices=jax.devices()[:1])
    assert mesh.of_cpus(here) == (jax.default_backend() == "cpu")
    assert not mesh.of_cpus(mesh.without_devices())
