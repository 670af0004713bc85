"""What a model takes of each device: to sample with, to train, and so how many rows fit.

Nothing is allocated: it is counted from shapes, for meshes that may not be here.
"""

import dataclasses
import math
import os

import jax
from jax.sharding import Mesh

from star_jax.models.abstract_params import abstract_params
from star_jax.models.config import ModelConfig, for_mesh
from star_jax.models.loss import CHUNK
from star_jax.runtime import sharding

TYPES = {"float32": 4, "bfloat16": 2}
MOST_ROWS = 256  # a device, to sample
_MOMENTS = 2  # of Adam
# What reverse mode keeps of a token in a layer, without rematerialisation. Counted in the traced
# program: within half to twice what XLA then allocates (see the test).
FORMULA = (
    "b x T x (d L (n E + 2 (H + K) D + g F) + 16 E): b rows a device, T length, L layers, n norms "
    "a layer, E width, d bytes a number, H heads of D, K of keys, F hidden, g matrices into "
    "the MLP; H, K and F are those of one device"
)


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes of each device, by what they are for.

    Attributes:
        sampling: weights, keys and values, logits.
        training: weights, gradients, Adam's moments, activations, logits and their gradient.
    """

    sampling: dict[str, int]
    training: dict[str, int]


def estimate(
    config: ModelConfig,
    mesh: Mesh,
    *,
    batch: int,
    length: int,
    dtype: str = "float32",
    weights: str = "float32",
) -> Memory:
    """What the model takes of each device of a mesh.

    Args:
        config: its shape.
        mesh: the devices, real or abstract.
        batch: rows that are sampled, or trained on in one micro-batch, on all devices together.
        length: tokens of a row, prompt and all.
        dtype: of the computation, and of the weights that are sampled with.
        weights: type that training keeps weights, gradients and moments in.

    Raises:
        ValueError: the batch cannot be shared out, or the model has no room for that length.
    """
    shards = sharding.batch_multiple(mesh)
    if batch % shards or batch < 1:
        raise ValueError(f"--batch={batch}: must be a multiple of data x fsdp = {shards}")
    if not 0 < length <= config.context:
        raise ValueError(f"--length={length}: must be 1 to {config.context}, the model's context")
    rows, size = batch // shards, TYPES[dtype]
    config = for_mesh(config, mesh)

    def share(axis: str, of: int) -> int:
        return sharding.divisible_sharding(mesh, (of,), (axis,)).shard_shape((of,))[0]

    heads, keys = share("heads", config.heads), share("kv_heads", config.key_heads)
    hidden, vocab = share("hidden", config.hidden), share("vocab", config.vocab)
    norms = (1 if config.shared_norm else 2) + (2 if config.post_norms else 0)
    of_layer = norms * config.width + 2 * (heads + keys) * config.head_dim
    of_layer += (1 + config.gated) * hidden
    sampled, trained = _weight_bytes(config, mesh, dtype), _weight_bytes(config, mesh, weights)
    cache = 2 * config.layers * keys * config.head_dim * size
    at_once = min(CHUNK, rows * length) if config.compute.on_cpu else rows * min(CHUNK, length)
    return Memory(
        sampling={
            "weights": sampled,
            "keys and values": rows * length * cache,
            "logits": rows * mesh.shape["fsdp"] * vocab * 4,  # before they are summed over it
        },
        training={
            "weights": trained,
            "gradients": trained,
            "Adam's moments": _MOMENTS * trained,
            "activations, about": rows
            * length
            * (size * config.layers * of_layer + 16 * config.width),
            "logits": 2 * at_once * vocab * 4,
        },
    )


def _weight_bytes(config: ModelConfig, mesh: Mesh, dtype: str) -> int:
    """Bytes a device of one copy of the weights."""
    leaves = jax.tree.leaves(abstract_params(config, mesh))
    return TYPES[dtype] * sum(math.prod(x.sharding.shard_shape(x.shape)) for x in leaves)


def rows_that_fit(config: ModelConfig, mesh: Mesh, *, length: int, prefix: int) -> int:
    """How many rows can be sampled at a time on all devices together, at least one a shard.

    At most `MOST_ROWS` a device: by then products are bound by arithmetic and not by reading the
    weights, and more rows at a time are no faster.

    Args:
        config: of the model, which computes in its `dtype`.
        mesh: the devices that are here.
        length: tokens of a row, prompt and all, the few-shot prompt apart.
        prefix: tokens of the few-shot prompt.
    """
    shards = sharding.batch_multiple(mesh)
    one = estimate(config, mesh, batch=shards, length=length, dtype=config.compute.dtype).sampling
    weights = one.pop("weights")
    shared = one["keys and values"] // length * prefix
    # Half of the cache is there twice while the last rows move into fewer slots, and all logits
    # while they are sorted.
    row = 1.5 * one["keys and values"] + 2 * one["logits"]
    fitting = int((device_bytes(mesh) - weights - shared) // row)
    return shards * max(1, min(MOST_ROWS, fitting))


def device_bytes(mesh: Mesh) -> int:
    """Bytes that a device has for a run: most of its memory; a CPU its share of half the host's."""
    device = mesh.local_devices[0]
    stats = device.memory_stats() or {}
    if "bytes_limit" in stats:
        return int(0.9 * stats["bytes_limit"])
    host = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return host // 2 // len(mesh.local_devices)
