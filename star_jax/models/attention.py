"""Attention of packed sequences: `kernel` chooses among what the devices offer.

All compute the same, which is `plain_attention.attention`; sampling calls that.

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
_OLD_TPUS = ("TPU v2", "TPU v3")  # their kernels multiply no bfloat16 matrices
_AMPERE = 8  # compute capability
_BLOCKS = (512, 256, 128)  # tokens that splash attention works on at a time; one must divide T
_QUERIES = 128  # that the plain formula works on at a time


@dataclasses.dataclass(frozen=True)
class Layer:
    """What attention needs to know of a block.

    Attributes:
        index: of the block in what is kept; known to the program only while it runs, where it scans
            over them, and 0 where each block has what is its own.
        window: how many tokens back a token sees, itself included; 0 = all.
        scale: of query-key products.
        cap: soft cap of the scores; 0 = none.
        given: what `Decoder.hidden` was given for every layer: this one's part.
    """

    index: Index
    window: int
    scale: float
    cap: float
    given: tuple[jax.Array, ...] = ()


# (layer, q_BxHxTxD, k_BxKxTxD, v_BxKxTxD, kept) -> out_BxHxTxD, kept
Attend = Callable[[Layer, jax.Array, jax.Array, jax.Array, Carry], tuple[jax.Array, Carry]]


def kernel(mesh: Mesh | None, layer: Layer, q_BxHxTxD: jax.Array, k_BxKxTxD: jax.Array) -> Kernel:
    """What computes the attention of packed sequences.

    | devices of the mesh | kernel | where                                                       |
    |---------------------|--------|-------------------------------------------------------------|
    | TPU, v4 and later   | splash | T divides by 128, D by 64; windows, caps, grouped heads too  |
    | GPU, from Ampere on | cuDNN  | 16 bits, T as there, D at most 128 and divides by 8; no cap  |
    | any other, no mesh  | XLA    | everything                                                  |

    XLA is also taken where rows or heads do not split evenly over the mesh: a kernel sees the part
    of one device. The platform is that of the mesh: a program may be compiled elsewhere.
    """
    if mesh is None or not _splits(mesh, q_BxHxTxD, k_BxKxTxD):
        return "xla"
    length, size = q_BxHxTxD.shape[2:]
    device = mesh.devices.flat[0]
    platform = device.platform
    if platform == "tpu" and device.device_kind not in _OLD_TPUS:
        return "splash" if length % _BLOCKS[-1] == 0 and size % 64 == 0 else "xla"
    if _has_cudnn(device) and q_BxHxTxD.dtype.itemsize == 2 and not layer.cap:
        whole = length % _BLOCKS[-1] == 0  # cuDNN before 9.15.1 may read beyond other lengths
        return "cudnn" if whole and size % 8 == 0 and size <= 128 else "xla"
    return "xla"


def _has_cudnn(device: Any) -> bool:
    """Whether it is a GPU whose attention cuDNN computes: NVIDIA's of compute capability 8.0 on."""
    major = str(getattr(device, "compute_capability", "")).partition(".")[0]
    return device.platform == "gpu" and major.isdigit() and int(major) >= _AMPERE


def length_multiple(mesh: Mesh) -> int:
    """Tokens of a sequence come in multiples of it where kernels shall take them."""
    return 1 if sharding.of_cpus(mesh) else _BLOCKS[-1]


def _splits(mesh: Mesh, q_BxHxTxD: jax.Array, k_BxKxTxD: jax.Array) -> bool:
    wanted = (sharding.spec(("batch", "heads")), sharding.spec(("batch", "kv_heads")))
    shapes = (q_BxHxTxD.shape[:2], k_BxKxTxD.shape[:2])
    return all(
        sharding.divisible_sharding(mesh, shape, axes).spec == spec
        for shape, spec, axes in zip(
            shapes, wanted, (("batch", "heads"), ("batch", "kv_heads")), strict=True
        )
    )


def attend_segments(segments_BxT: jax.Array, mesh: Mesh | None = None) -> Attend:
    """Causal attention inside each packed segment; tokens of different segments never meet.

    Args:
        segments_BxT: int32, the same number in all tokens of a segment, which are neighbours.
        mesh: of the devices it will run on; None for the plain formula.
    """
    begun_T = segment_starts(segments_BxT, mesh)

    def attend(
        layer: Layer, q: jax.Array, k: jax.Array, v: jax.Array, kept: Carry
    ) -> tuple[jax.Array, Carry]:
        chosen = kernel(mesh, layer, q, k)
        if mesh is None or chosen == "xla":
            return plain_segments(layer, q, k, v, segments_BxT, begun_T), kept
        run = splash_segments if chosen == "splash" else dot_product_segments
        heads, keys = (sharding.spec(("batch", axis)) for axis in ("heads", "kv_heads"))
        sharded = jax.shard_map(
            functools.partial(run, layer),
            mesh=mesh,
            in_specs=(heads, keys, keys, sharding.spec(("batch",))),
            out_specs=heads,
            check_vma=False,  # kernels do not say how their results vary over the mesh
        )
        return sharded(q, k, v, segments_BxT), kept

    return attend


def attend_sources(layer: Layer, q_BxHxTxD: jax.Array, sources: Sequence[KeySource]) -> jax.Array:
    """`plain_attention.attention` as the layer scales and caps it."""
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
    """As `attend_segments`, by the plain formula, for some queries at a time.

    Those meet no key that comes after all of them, or that is out of the window of all of them;
    where it is given what is `begun`, few either that are in earlier segments. `shared` gives
    further sources of keys for some of the queries.
    """
    length, place = q_BxHxTxD.shape[2], jnp.arange(q_BxHxTxD.shape[2])

    def some(q: jax.Array, queries: slice, keys: slice) -> jax.Array:
        causal = place[queries, None] >= place[keys]
        mask = causal & within(layer.window, place[queries], place[keys])
        mask = mask & (segments_BxT[:, queries, None] == segments_BxT[:, None, keys])
        first = None if begun_T is None else begun_T[queries.start] - keys.start
        own = KeySource(k_BxKxTxD[:, :, keys], v_BxKxTxD[:, :, keys], mask[:, None], first=first)
        return attend_sources(layer, q, [own, *shared(queries)])

    found, firsts = [], list(range(0, length, _QUERIES))
    # Unlike slices, parts of a split have a gradient that is written once.
    for first, q in zip(firsts, jnp.split(q_BxHxTxD, firsts[1:], axis=2), strict=True):
        queries = slice(first, first + q.shape[2])
        least = max(0, first - layer.window + 1) if layer.window else 0
        found.append(some(q, queries, slice(least, queries.stop)))
    return jnp.concatenate(found, axis=2)


def segment_starts(segments_BxT: jax.Array, mesh: Mesh | None) -> jax.Array | None:
    """[T] int32: the first place of the segments that tokens at each place are in, of all rows.

    None unless it will run on CPUs: only there has it been found to be faster to choose by it.
    """
    if mesh is not None and not sharding.of_cpus(mesh):
        return None
    place = jnp.arange(segments_BxT.shape[1])
    other = segments_BxT[:, 1:] != segments_BxT[:, :-1]
    first = jnp.where(jnp.pad(other, ((0, 0), (1, 0))), place, 0)
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
    """As `attend_segments`, by the TPU's kernel; with `interpret` it runs on any device."""
    heads, length = q_BxHxTxD.shape[1:3]
    shape = (length, length)
    one = (
        splash_mask.LocalMask(shape, (layer.window - 1, 0), 0)
        if layer.window
        else splash_mask.CausalMask(shape)
    )
    longest = next(size for size in _BLOCKS if length % size == 0)
    names = ("q", "kv", "kv_compute", "q_dkv", "kv_dkv", "kv_dkv_compute", "q_dq", "kv_dq")
    sizes: dict[str, Any] = {f"block_{name}": longest for name in names}
    run = splash.make_splash_mha(
        splash_mask.MultiHeadMask([one] * heads),
        block_sizes=splash.BlockSizes(**sizes),
        attn_logits_soft_cap=layer.cap or None,
        head_shards=1,
        q_seq_shards=1,
        residual_checkpoint_name="attention",
        interpret=interpret,
    )

    def row(q: jax.Array, k: jax.Array, v: jax.Array, segments: jax.Array) -> jax.Array:
        out = run(q, k, v, segment_ids=splash.SegmentIds(segments, segments))
        return cast(jax.Array, out)  # nothing beside it was asked for

    return jax.vmap(row)(q_BxHxTxD * layer.scale, k_BxKxTxD, v_BxKxTxD, segments_BxT)


def dot_product_segments(
    layer: Layer,
    q_BxHxTxD: jax.Array,
    k_BxKxTxD: jax.Array,
    v_BxKxTxD: jax.Array,
    segments_BxT: jax.Array,
    *,
    implementation: Literal["cudnn", "xla"] = "cudnn",
) -> jax.Array:
    """As `attend_segments`, by jax's own attention, of which cuDNN is one implementation."""
    place = jnp.arange(segments_BxT.shape[1])
    mask = segments_BxT[:, None, :, None] == segments_BxT[:, None, None, :]
    mask = mask & within(layer.window, place, place)
    q, k, v = (x.swapaxes(1, 2) for x in (q_BxHxTxD, k_BxKxTxD, v_BxKxTxD))
    out = jax.nn.dot_product_attention(
        q, k, v, mask=mask, is_causal=True, scale=layer.scale, implementation=implementation
    )
    return checkpoint_name(out.swapaxes(1, 2), "attention")


def within(window: int, query: jax.Array, key: jax.Array) -> jax.Array:
    """Whether places of queries [.., T] see places of keys [S] through a window; [.., T, S]."""
    return key > query[..., None] - window if window else jnp.array(True)
