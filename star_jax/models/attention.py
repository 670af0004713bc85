"""Attention of packed sequences: `kernel` chooses the fastest implementation for the devices.

All implementations compute `attention_reference.attention`; sampling calls that one directly.

Shapes: B rows, T queries, S keys, H heads, K heads of keys and values, D head_dim.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal, cast

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.experimental.pallas.ops.tpu.splash_attention import (
    splash_attention_kernel as splash,
)
from jax.experimental.pallas.ops.tpu.splash_attention import (
    splash_attention_mask as splash_mask,
)
from jax.sharding import Mesh

from star_jax.models.attention_reference import KeySource, attention
from star_jax.models.stacking import Carry, Index
from star_jax.runtime import sharding

Kernel = Literal["splash", "cudnn", "xla"]
_OLD_TPUS = ("TPU v2", "TPU v3")  # kernels there cannot multiply bfloat16 matrices
_AMPERE = 8  # major compute capability of the first GPUs that cuDNN attention runs on
_BLOCKS = (512, 256, 128)  # block sizes of splash attention, in tokens; one must divide T
_QUERIES = 128  # queries that the plain formula computes at a time


@dataclasses.dataclass(frozen=True)
class Layer:
    """The parameters of attention in one layer.

    Attributes:
        index: index of the layer in the stacks of the carry. It is traced where the program scans
            over the layers, and 0 where each layer is handed its own part.
        window: number of tokens back that a token sees, itself included; 0 = all.
        scale: factor on query-key products.
        cap: soft cap of the scores; 0 = none.
        given: this layer's part of each stack in the argument `given` of `Decoder.hidden`.
    """

    index: Index
    window: int
    scale: float
    cap: float
    given: tuple[jax.Array, ...] = ()


# (layer, q_BxHxTxD, k_BxKxTxD, v_BxKxTxD, kept) -> out_BxHxTxD, kept
Attend = Callable[[Layer, jax.Array, jax.Array, jax.Array, Carry], tuple[jax.Array, Carry]]


def kernel(mesh: Mesh | None, layer: Layer, q_BxHxTxD: jax.Array, k_BxKxTxD: jax.Array) -> Kernel:
    """Returns the name of the implementation that computes attention of packed sequences.

    | devices of the mesh | kernel | where                                                       |
    |---------------------|--------|-------------------------------------------------------------|
    | TPU, v4 and later   | splash | T divides by 128, D by 64; windows, caps, grouped heads too  |
    | GPU, from Ampere on | cuDNN  | 16 bits, T as there, D at most 128 and divides by 8; no cap  |
    | any other, no mesh  | XLA    | everything                                                  |

    XLA is also used where rows or heads do not split evenly over the mesh, because a kernel sees
    the part of one device. The platform is that of the mesh: a program may be compiled on another.
    """
    if mesh is None or not _splits(mesh, q_BxHxTxD, k_BxKxTxD):
        return "xla"
    length, size = q_BxHxTxD.shape[2:]
    device = mesh.devices.flat[0]
    platform = device.platform
    if platform == "tpu" and device.device_kind not in _OLD_TPUS:
        return "splash" if length % _BLOCKS[-1] == 0 and size % 64 == 0 else "xla"
    if _has_cudnn(device) and q_BxHxTxD.dtype.itemsize == 2 and not layer.cap:
        divides = length % _BLOCKS[-1] == 0  # cuDNN before 9.15.1 may read beyond other lengths
        return "cudnn" if divides and size % 8 == 0 and size <= 128 else "xla"
    return "xla"


def _has_cudnn(device: Any) -> bool:
    """Returns whether cuDNN attention runs on it: an NVIDIA GPU of compute capability >= 8.0."""
    major = str(getattr(device, "compute_capability", "")).partition(".")[0]
    return device.platform == "gpu" and major.isdigit() and int(major) >= _AMPERE


def length_multiple(mesh: Mesh) -> int:
    """Returns the number that the length of a sequence must be a multiple of for the kernels."""
    return 1 if sharding.of_cpus(mesh) else _BLOCKS[-1]


def _splits(mesh: Mesh, q_BxHxTxD: jax.Array, k_BxKxTxD: jax.Array) -> bool:
    """Returns whether rows and heads split evenly over the mesh."""
    wanted = (sharding.spec(("batch", "heads")), sharding.spec(("batch", "kv_heads")))
    shapes = (q_BxHxTxD.shape[:2], k_BxKxTxD.shape[:2])
    return all(
        sharding.divisible_sharding(mesh, shape, axes).spec == spec
        for shape, spec, axes in zip(
            shapes, wanted, (("batch", "heads"), ("batch", "kv_heads")), strict=True
        )
    )


def attend_segments(segments_BxT: jax.Array, mesh: Mesh | None = None) -> Attend:
    """Returns causal attention inside each packed segment: no token sees another segment.

    Args:
        segments_BxT: int32 segment ids; a segment is a run of neighbouring tokens with one id.
        mesh: devices that the program will run on; None for the plain formula.
    """
    begun_T = segment_starts(segments_BxT, mesh)

    def attend(
        layer: Layer, q: jax.Array, k: jax.Array, v: jax.Array, kept: Carry
    ) -> tuple[jax.Array, Carry]:
        implementation = kernel(mesh, layer, q, k)
        if mesh is None or implementation == "xla":
            return plain_segments(layer, q, k, v, segments_BxT, begun_T), kept
        run = splash_segments if implementation == "splash" else dot_product_segments
        heads, keys = (sharding.spec(("batch", axis)) for axis in ("heads", "kv_heads"))
        sharded = jax.shard_map(
            functools.partial(run, layer),
            mesh=mesh,
            in_specs=(heads, keys, keys, sharding.spec(("batch",))),
            out_specs=heads,
            check_vma=False,  # kernels do not declare how their results vary over the mesh
        )
        return sharded(q, k, v, segments_BxT), kept

    return attend


def attend_sources(layer: Layer, q_BxHxTxD: jax.Array, sources: Sequence[KeySource]) -> jax.Array:
    """Calls `attention_reference.attention` with the scale and the cap of the layer."""
    return attention(q_BxHxTxD, sources, scale=layer.scale, cap=layer.cap)


def plain_segments(
    layer: Layer,
    q_BxHxTxD: jax.Array,
    k_BxKxTxD: jax.Array,
    v_BxKxTxD: jax.Array,
    segments_BxT: jax.Array,
    begun_T: jax.Array | None = None,
    shared: Callable[[slice], list[KeySource]] = lambda queries: [],
) -> jax.Array:
    """Computes attention inside each segment by the plain formula, `_QUERIES` queries at a time.

    Keys after all queries of a chunk, or outside the window of all of them, are skipped.

    Args:
        layer: parameters of the layer.
        q_BxHxTxD: queries.
        k_BxKxTxD: keys.
        v_BxKxTxD: values.
        segments_BxT: int32 segment ids.
        begun_T: result of `segment_starts`: most keys of earlier segments are skipped too.
        shared: function from a slice of the queries to further key sources for them.

    Returns:
        Outputs of the heads, [B, H, T, D].
    """
    length, position = q_BxHxTxD.shape[2], jnp.arange(q_BxHxTxD.shape[2])

    def attend_chunk(q: jax.Array, queries: slice, keys: slice) -> jax.Array:
        causal = position[queries, None] >= position[keys]
        mask = causal & within(layer.window, position[queries], position[keys])
        mask = mask & (segments_BxT[:, queries, None] == segments_BxT[:, None, keys])
        first = None if begun_T is None else begun_T[queries.start] - keys.start
        own = KeySource(k_BxKxTxD[:, :, keys], v_BxKxTxD[:, :, keys], mask[:, None], first=first)
        return attend_sources(layer, q, [own, *shared(queries)])

    outputs, firsts = [], list(range(0, length, _QUERIES))
    # Split instead of slices: the gradient of a split is written once.
    for first, q in zip(firsts, jnp.split(q_BxHxTxD, firsts[1:], axis=2), strict=True):
        queries = slice(first, first + q.shape[2])
        first_key = max(0, first - layer.window + 1) if layer.window else 0
        outputs.append(attend_chunk(q, queries, slice(first_key, queries.stop)))
    return jnp.concatenate(outputs, axis=2)


def segment_starts(segments_BxT: jax.Array, mesh: Mesh | None) -> jax.Array | None:
    """Returns the earliest start, over all rows, of the segments at each position: [T] int32.

    The result is None unless the program will run on CPUs: skipping keys by it was measured to be
    faster only there.

    Args:
        segments_BxT: int32 segment ids.
        mesh: devices that the program will run on; None counts as CPUs.
    """
    if mesh is not None and not sharding.of_cpus(mesh):
        return None
    position = jnp.arange(segments_BxT.shape[1])
    changed = segments_BxT[:, 1:] != segments_BxT[:, :-1]
    first = jnp.where(jnp.pad(changed, ((0, 0), (1, 0))), position, 0)
    return jax.lax.cummax(first, axis=1).min(0)


def splash_segments(
    layer: Layer,
    q_BxHxTxD: jax.Array,
    k_BxKxTxD: jax.Array,
    v_BxKxTxD: jax.Array,
    segments_BxT: jax.Array,
    *,
    interpret: bool = False,
) -> jax.Array:
    """Computes attention inside each segment by the TPU kernel; `interpret` runs on any device."""
    heads, length = q_BxHxTxD.shape[1:3]
    shape = (length, length)
    mask = (
        splash_mask.LocalMask(shape, (layer.window - 1, 0), 0)
        if layer.window
        else splash_mask.CausalMask(shape)
    )
    block_size = next(size for size in _BLOCKS if length % size == 0)
    names = ("q", "kv", "kv_compute", "q_dkv", "kv_dkv", "kv_dkv_compute", "q_dq", "kv_dq")
    sizes: dict[str, Any] = {f"block_{name}": block_size for name in names}
    run = splash.make_splash_mha(
        splash_mask.MultiHeadMask([mask] * heads),
        block_sizes=splash.BlockSizes(**sizes),
        attn_logits_soft_cap=layer.cap or None,
        head_shards=1,
        q_seq_shards=1,
        residual_checkpoint_name="attention",
        interpret=interpret,
    )

    def run_row(q: jax.Array, k: jax.Array, v: jax.Array, segments: jax.Array) -> jax.Array:
        out = run(q, k, v, segment_ids=splash.SegmentIds(segments, segments))
        return cast(jax.Array, out)  # without residuals or statistics the kernel returns one array

    return jax.vmap(run_row)(q_BxHxTxD * layer.scale, k_BxKxTxD, v_BxKxTxD, segments_BxT)


def dot_product_segments(
    layer: Layer,
    q_BxHxTxD: jax.Array,
    k_BxKxTxD: jax.Array,
    v_BxKxTxD: jax.Array,
    segments_BxT: jax.Array,
    *,
    implementation: Literal["cudnn", "xla"] = "cudnn",
) -> jax.Array:
    """Computes attention inside each segment by jax.nn; cuDNN is one of its implementations."""
    position = jnp.arange(segments_BxT.shape[1])
    mask = segments_BxT[:, None, :, None] == segments_BxT[:, None, None, :]
    mask = mask & within(layer.window, position, position)
    q, k, v = (x.swapaxes(1, 2) for x in (q_BxHxTxD, k_BxKxTxD, v_BxKxTxD))
    out = jax.nn.dot_product_attention(
        q, k, v, mask=mask, is_causal=True, scale=layer.scale, implementation=implementation
    )
    return checkpoint_name(out.swapaxes(1, 2), "attention")


def within(window: int, query: jax.Array, key: jax.Array) -> jax.Array:
    """Returns where query positions [.., T] see key positions [S] in a window: bool [.., T, S]."""
    return key > query[..., None] - window if window else jnp.array(True)
