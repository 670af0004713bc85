import jax
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from star_jax.runtime import sharding
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
    made = sharding.make_mesh(*sizes)
    assert (made.axis_names, made.devices.shape) == (sharding.AXES, shape)
    assert made.devices.flatten().tolist() == jax.devices()


def test_make_mesh_over_the_devices_it_is_given():
    assert sharding.make_mesh().devices.size == len(jax.devices())
    made = sharding.make_mesh(devices=jax.devices()[:1])
    assert (dict(made.shape), sharding.batch_multiple(made)) == (NONE, 1)


def test_what_nobody_lays_out_is_left_to_the_compiler_on_every_mesh():
    for made in (sharding.make_mesh(), sharding.without_devices(2, 4)):
        assert made.axis_types == (AxisType.Auto,) * 3
    assert dict(sharding.without_devices(2, 4).shape) == {"data": 2, "fsdp": 4, "tensor": 1}


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
        sharding.make_mesh(*sizes)


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
    assert sharding.spec(axes) == PartitionSpec(*expected)


def test_the_table_names_only_axes_of_the_mesh():
    for value in sharding.RULES.values():
        assert (
            {value} <= {None, *sharding.AXES}
            if not isinstance(value, tuple)
            else set(value) <= set(sharding.AXES)
        )


def test_an_axis_without_a_rule_is_an_error():
    with pytest.raises(KeyError, match="depth"):
        sharding.spec(["depth"])


@eight_devices
def test_place_splits_the_batch_over_data_and_fsdp_and_copies_the_rest():
    made = sharding.make_mesh(2, 2, 2)
    assert sharding.batch_multiple(made) == 4
    rows = np.arange(24).reshape(8, 3)
    split, whole = (
        sharding.device_put(made, rows, "batch"),
        sharding.device_put(made, {"x": rows})["x"],
    )
    assert {shard.data.shape for shard in split.addressable_shards} == {(2, 3)}
    assert {shard.data.shape for shard in whole.addressable_shards} == {(8, 3)}
    assert len(split.sharding.device_set) == 8 and whole.sharding.is_fully_replicated
    assert (np.asarray(split) == rows).all() and (np.asarray(whole) == rows).all()


@eight_devices
def test_one_process_holds_and_owns_all_rows():
    made = sharding.make_mesh(2, 2, 2)
    rows = np.arange(24, dtype=np.int32).reshape(8, 3)
    assert (sharding.to_host(sharding.device_put(made, rows, "batch")) == rows).all()
    assert sharding.owners(made, 8) == [0] * 8


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
    made = sharding.make_mesh(1, 2, 4)
    found = sharding.divisible_sharding(made, shape, ("embed", "kv_heads", "head_dim"))
    assert found.spec == PartitionSpec(*expected)


def test_of_cpus_is_asked_of_devices_that_are_there():
    here = sharding.make_mesh(devices=jax.devices()[:1])
    assert sharding.of_cpus(here) == (jax.default_backend() == "cpu")
    assert not sharding.of_cpus(sharding.without_devices())
