"""Memory that a model needs on each device to sample and to train, and the rows that fit.

Nothing is allocated: bytes are counted from shapes, for real or abstract meshes.
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

TYPES = {"float32": 4, "bfloat16": 2}  # bytes of a number
MOST_ROWS = 256  # limit of rows that a device samples at a time
_MOMENTS = 2  # copies of the weights that Adam stores
# Bytes of activations stored for the gradient, without gradient checkpointing (remat). Counted in
# the traced program: between half of and twice what XLA then allocates (see the test).
FORMULA = (
    "b x T x (d L (n E + 2 (H + K) D + g F) + 16 E): b rows a device, T length, L layers, n norms "
    "a layer, E width, d bytes a number, H heads of D, K of keys, F hidden, g matrices into "
    "the MLP; H, K and F are those of one device"
)


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes on each device, by purpose.

    Attributes:
        sampling: bytes of weights, keys and values, logits.
        training: bytes of weights, gradients, Adam's moments, activations, logits and their
            gradient.
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
    """Estimates the bytes that a model needs on each device of a mesh.

    Args:
        config: configuration of the model.
        mesh: devices, real or abstract.
        batch: number of rows on all devices that are sampled, or trained on in one micro-batch.
        length: tokens of a row, prompt included.
        dtype: numeric type of the computation, and of the weights that are sampled with.
        weights: numeric type in which training stores weights, gradients and moments.

    Raises:
        ValueError: the batch does not split evenly over the devices, or the length is not in 1 to
            the model's context.
    """
    shards = sharding.batch_multiple(mesh)
    if batch % shards or batch < 1:
        raise ValueError(f"--batch={batch}: must be a multiple of data x fsdp = {shards}")
    if not 0 < length <= config.context:
        raise ValueError(f"--length={length}: must be 1 to {config.context}, the model's context")
    rows, size = batch // shards, TYPES[dtype]
    config = for_mesh(config, mesh)

    def share(axis: str, size: int) -> int:
        return sharding.divisible_sharding(mesh, (size,), (axis,)).shard_shape((size,))[0]

    heads, keys = share("heads", config.heads), share("kv_heads", config.key_heads)
    hidden, vocab = share("hidden", config.hidden), share("vocab", config.vocab)
    norms = (1 if config.shared_norm else 2) + (2 if config.post_norms else 0)
    per_layer = norms * config.width + 2 * (heads + keys) * config.head_dim
    per_layer += (1 + config.gated) * hidden
    sampled, trained = _weight_bytes(config, mesh, dtype), _weight_bytes(config, mesh, weights)
    cache = 2 * config.layers * keys * config.head_dim * size
    chunk = min(CHUNK, rows * length) if config.compute.on_cpu else rows * min(CHUNK, length)
    return Memory(
        sampling={
            "weights": sampled,
            "keys and values": rows * length * cache,
            "logits": rows * mesh.shape["fsdp"] * vocab * 4,  # before the sum over fsdp
        },
        training={
            "weights": trained,
            "gradients": trained,
            "Adam's moments": _MOMENTS * trained,
            "activations, about": rows
            * length
            * (size * config.layers * per_layer + 16 * config.width),
            "logits": 2 * chunk * vocab * 4,
        },
    )


def _weight_bytes(config: ModelConfig, mesh: Mesh, dtype: str) -> int:
    """Returns the bytes of one copy of the weights on a device."""
    leaves = jax.tree.leaves(abstract_params(config, mesh))
    return TYPES[dtype] * sum(math.prod(x.sharding.shard_shape(x.shape)) for x in leaves)


def rows_that_fit(config: ModelConfig, mesh: Mesh, *, length: int, prefix: int) -> int:
    """Returns how many rows can be sampled at a time on all devices, at least one a shard.

    The result is at most `MOST_ROWS` a device: products are then bound by arithmetic instead of by
    reading the weights, so that more rows at a time are no faster.

    Args:
        config: configuration of the model; `compute.dtype` is the type of weights and KV cache.
        mesh: devices that are present.
        length: tokens of a row, prompt included, few-shot prompt not included.
        prefix: tokens of the few-shot prompt.
    """
    shards = sharding.batch_multiple(mesh)
    one = estimate(config, mesh, batch=shards, length=length, dtype=config.compute.dtype).sampling
    weights = one.pop("weights")
    shared = one["keys and values"] // length * prefix
    # Half of the KV cache exists twice while the last rows move into fewer slots, and all logits
    # exist twice while they are sorted.
    row = 1.5 * one["keys and values"] + 2 * one["logits"]
    fitting = int((device_bytes(mesh) - weights - shared) // row)
    return shards * max(1, min(MOST_ROWS, fitting))


def device_bytes(mesh: Mesh) -> int:
    """Returns the bytes of a device for a run: 90 %; for a CPU, its share of half the host's."""
    device = mesh.local_devices[0]
    stats = device.memory_stats() or {}
    if "bytes_limit" in stats:
        return int(0.9 * stats["bytes_limit"])
    host = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return host // 2 // len(mesh.local_devices)
