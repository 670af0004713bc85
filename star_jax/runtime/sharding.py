"""The device mesh and the one table from logical axes to mesh axes.

Every array of the project names its axes by meaning ("batch", "heads", ...). This file alone
decides which mesh axis each of them is split over, and it alone uses `PartitionSpec`.
"""

from collections.abc import Sequence
from typing import Any, cast

import jax
import numpy as np
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

AXES = ("data", "fsdp", "tensor")
# Auto: the compiler chooses the shardings of intermediate arrays. It is set explicitly because the
# default differs between kinds of mesh and versions of jax.
_TYPES = (AxisType.Auto,) * len(AXES)

# Logical axis -> mesh axes that it is split over; None for an axis that is not split.
RULES: dict[str, str | tuple[str, ...] | None] = {
    "batch": ("data", "fsdp"),
    "rows": "data",  # rows of one token each, whose width is split as the weights are
    "length": None,
    "sequence": "tensor",  # tokens of the residual stream that is stored between blocks
    "layers": None,
    "embed": "fsdp",
    "heads": "tensor",
    "kv_heads": "tensor",
    "head_dim": None,
    "hidden": "tensor",
    "vocab": "tensor",
}


def make_mesh(
    data: int = -1, fsdp: int = 1, tensor: int = 1, devices: Sequence[Any] | None = None
) -> Mesh:
    """Makes a mesh of devices with axes (data, fsdp, tensor).

    Args:
        data: size of the axis; one of the three sizes may be -1 for the rest of the devices.
        fsdp: size of the axis.
        tensor: size of the axis.
        devices: devices to lay out; None: all devices.

    Raises:
        ValueError: the sizes do not multiply to the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    sizes = [data, fsdp, tensor]
    if sizes.count(-1) == 1:
        known = int(np.prod([size for size in sizes if size != -1]))
        sizes[sizes.index(-1)] = len(devices) // known
    if min(sizes) < 1 or int(np.prod(sizes)) != len(devices):
        raise ValueError(
            f"config.mesh is data={data} fsdp={fsdp} tensor={tensor}, which does not multiply to "
            f"the {len(devices)} devices present; set one of them to -1 to take the rest"
        )
    return Mesh(np.asarray(devices).reshape(sizes), AXES, axis_types=_TYPES)


def without_devices(data: int = 1, fsdp: int = 1, tensor: int = 1) -> Mesh:
    """Returns an abstract mesh of these sizes, which has shapes and shardings but no devices."""
    return cast(Mesh, AbstractMesh((data, fsdp, tensor), AXES, axis_types=_TYPES))


def spec(axes: Sequence[str | None]) -> PartitionSpec:
    """Returns the PartitionSpec of an array with these logical axes (None: not split)."""
    return PartitionSpec(*(None if axis is None else RULES[axis] for axis in axes))


def abstract(mesh: Mesh, shape: tuple[int, ...], dtype: Any, *axes: str | None) -> Any:
    """Returns an array's shape, type and sharding, for a program that is compiled ahead."""
    return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding(mesh, *axes))


def sharding(mesh: Mesh, *axes: str | None) -> NamedSharding:
    """Returns the sharding of an array with these logical axes; without axes it is replicated."""
    return NamedSharding(mesh, spec(axes))


def divisible_sharding(
    mesh: Mesh, shape: Sequence[int], axes: Sequence[str | None]
) -> NamedSharding:
    """Returns the sharding of an array of this shape; an axis that does not divide is not split.

    An example is heads of keys and values that are fewer than the devices of the tensor axis.
    """
    layout = sharding(mesh, *axes)
    dividing = [
        axis if size % shards == 0 else None
        for axis, size, shards in zip(axes, shape, _shards(mesh, layout.spec), strict=True)
    ]
    return sharding(mesh, *dividing)


def split(mesh: Mesh, x: jax.Array, *axes: str | None) -> jax.Array:
    """Shards `x` by these logical axes inside a program; axes that do not divide are not split."""
    return jax.lax.with_sharding_constraint(x, divisible_sharding(mesh, x.shape, axes))


def _shards(mesh: Mesh, spec_: PartitionSpec) -> list[int]:
    """Returns the number of parts that each axis of an array is split into."""
    names = [(part,) if isinstance(part, str) else part or () for part in spec_]
    return [int(np.prod([mesh.shape[name] for name in group])) for group in names]


def device_put(mesh: Mesh, tree: Any, *axes: str | None) -> Any:
    """Puts every host array of `tree` on the mesh; `axes` are the names of its leading axes.

    Every process has the whole arrays and copies its parts of them to its devices.
    """
    layout = sharding(mesh, *axes)

    def put(x: Any) -> jax.Array:
        whole = np.asarray(x)
        return jax.make_array_from_callback(whole.shape, layout, lambda index: whole[index])

    return jax.tree.map(put, tree)


def owners(mesh: Mesh, rows: int) -> list[int]:
    """Returns the process that holds each row of a batch: the first, where several do."""
    processes = [jax.process_count()] * rows
    for device, (cut,) in sharding(mesh, "batch").devices_indices_map((rows,)).items():
        for row in range(*cut.indices(rows)):
            processes[row] = min(processes[row], device.process_index)
    return processes


def to_host(array: jax.Array) -> np.ndarray:
    """Returns the whole array, with zeros where only other processes hold the values."""
    copy = np.zeros(array.shape, array.dtype)
    for shard in {str(one.index): one for one in array.addressable_shards}.values():
        copy[shard.index] = shard.data
    return copy


def of_cpus(mesh: Mesh) -> bool:
    """Returns whether the devices are CPUs; False for an abstract mesh."""
    return isinstance(mesh, Mesh) and mesh.devices.flat[0].platform == "cpu"


def batch_multiple(mesh: Mesh) -> int:
    """Returns the number of shards of the "batch" axis; a batch must be a multiple of it."""
    return mesh.shape["data"] * mesh.shape["fsdp"]
