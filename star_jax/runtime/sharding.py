"""The device mesh and the one table from logical axes to mesh axes.

Every array of the project names its axes by what they mean ("batch", "heads", ...). This file alone
decides which mesh axis each of them is split over, and is the only one that knows `PartitionSpec`.
"""

from collections.abc import Sequence
from typing import Any, cast

import jax
import numpy as np
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

AXES = ("data", "fsdp", "tensor")
# The compiler lays out what lies between the arrays whose sharding is said. Said itself, because
# the default is not the same for every kind of mesh and version of jax.
_TYPES = (AxisType.Auto,) * len(AXES)

# Logical axis -> mesh axes it is split over; an axis that is not split maps to None.
RULES: dict[str, str | tuple[str, ...] | None] = {
    "batch": ("data", "fsdp"),
    "rows": "data",  # of one token each, whose width is split as the weights are
    "length": None,
    "sequence": "tensor",  # tokens of the residual stream between blocks, where it is kept
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
    """Lays the devices (None: all there are) out as (data, fsdp, tensor).

    One size may be -1, "the rest".

    Raises:
        ValueError: when the sizes do not multiply to the number of devices.
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
    """A mesh of these sizes for what asks only for shapes and shardings."""
    return cast(Mesh, AbstractMesh((data, fsdp, tensor), AXES, axis_types=_TYPES))


def spec(axes: Sequence[str | None]) -> PartitionSpec:
    """The PartitionSpec of an array whose axes have these logical names (None: not split)."""
    return PartitionSpec(*(None if axis is None else RULES[axis] for axis in axes))


def abstract(mesh: Mesh, shape: tuple[int, ...], dtype: Any, *axes: str | None) -> Any:
    """An array's shape, type and place on the mesh, for a program that is compiled ahead."""
    return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding(mesh, *axes))


def sharding(mesh: Mesh, *axes: str | None) -> NamedSharding:
    """The sharding of an array with these logical axes; no axes at all means replicated."""
    return NamedSharding(mesh, spec(axes))


def divisible_sharding(
    mesh: Mesh, shape: Sequence[int], axes: Sequence[str | None]
) -> NamedSharding:
    """The sharding of an array of this shape: an axis that does not divide is not split.

    Such are the heads of keys and values where they are fewer than the devices of a tensor axis.
    """
    layout = sharding(mesh, *axes)
    whole = [
        axis if size % shards == 0 else None
        for axis, size, shards in zip(axes, shape, _shards(mesh, layout.spec), strict=True)
    ]
    return sharding(mesh, *whole)


def split(mesh: Mesh, x: jax.Array, *axes: str | None) -> jax.Array:
    """Inside of a program: `x` laid out by these logical axes, but for those that do not divide."""
    return jax.lax.with_sharding_constraint(x, divisible_sharding(mesh, x.shape, axes))


def _shards(mesh: Mesh, spec_: PartitionSpec) -> list[int]:
    """Into how many parts each axis of an array is split."""
    names = [(part,) if isinstance(part, str) else part or () for part in spec_]
    return [int(np.prod([mesh.shape[name] for name in group])) for group in names]


def device_put(mesh: Mesh, tree: Any, *axes: str | None) -> Any:
    """Puts every host array of `tree` on the mesh, its leading axes named by `axes`.

    Every process has the whole arrays, and puts on its devices what lies there.
    """
    layout = sharding(mesh, *axes)

    def put(x: Any) -> jax.Array:
        whole = np.asarray(x)
        return jax.make_array_from_callback(whole.shape, layout, lambda index: whole[index])

    return jax.tree.map(put, tree)


def owners(mesh: Mesh, rows: int) -> list[int]:
    """Of each row of a batch, the process that holds it: the first, where several do."""
    found = [jax.process_count()] * rows
    for device, (cut,) in sharding(mesh, "batch").devices_indices_map((rows,)).items():
        for row in range(*cut.indices(rows)):
            found[row] = min(found[row], device.process_index)
    return found


def to_host(array: jax.Array) -> np.ndarray:
    """What this process holds of an array, at its place in the whole; zeros elsewhere."""
    found = np.zeros(array.shape, array.dtype)
    for shard in {str(one.index): one for one in array.addressable_shards}.values():
        found[shard.index] = shard.data
    return found


def of_cpus(mesh: Mesh) -> bool:
    """Whether the devices are CPUs; an abstract mesh has none."""
    return isinstance(mesh, Mesh) and mesh.devices.flat[0].platform == "cpu"


def batch_multiple(mesh: Mesh) -> int:
    """The number of shards of the "batch" axis: a batch must be a multiple of it."""
    return mesh.shape["data"] * mesh.shape["fsdp"]
