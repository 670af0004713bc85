"""The blocks of a decoder as one block with stacked weights, run by a scan over the layers.

A program then holds the code of one block instead of one for every layer: it compiles in a time
that does not grow with the depth. Where layers differ by the windows of their attention, the body
of the scan is one period of them (`ModelConfig.period`).

Keys and values, which each layer has its own of, are stacked too: arrays [L, ...] of L layers. A
CPU would copy a layer out of the stack for every token that is sampled, so there sampling takes the
stacks apart first (`apart`, `blocks`): tuples of L arrays, and a list of blocks that run one after
the other.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh

from star_jax.runtime import sharding

M = TypeVar("M", bound=nnx.Module)
Stacked = jax.Array | tuple[jax.Array, ...]  # [L, ...], or L arrays [...]
Carry = tuple[Stacked, ...]  # what is stacked, and each layer reads and writes its own part of
Index = jax.Array | int  # of a layer; an int where the stacks are taken apart
Remat = Callable[[Callable[..., Any]], Callable[..., Any]]
AXIS = "layers"  # the first axis of a stacked weight


def stack(parts: Sequence[M]) -> M:
    """One block in the place of `parts`, which are alike: every weight [...] becomes [L, ...]."""

    def join(*weights: nnx.Param) -> nnx.Param:
        axes = (AXIS, *weights[0].get_metadata("axes"))
        return nnx.Param(jnp.stack([weight[...] for weight in weights]), axes=axes)

    graph, _ = nnx.split(parts[0])
    weights = [nnx.split(part)[1] for part in parts]
    return nnx.merge(graph, jax.tree.map(join, *weights, is_leaf=_is_weight))


def blocks(block: M) -> nnx.List[M]:
    """The blocks that are stacked in `block`."""
    graph, weights = nnx.split(block)
    count = len(jax.tree.leaves(weights)[0])

    def cut(layer: int) -> Any:
        def own(weight: nnx.Param) -> nnx.Param:
            return nnx.Param(weight[...][layer], axes=weight.get_metadata("axes")[1:])

        return jax.tree.map(own, weights, is_leaf=_is_weight)

    return nnx.List([nnx.merge(graph, cut(layer)) for layer in range(count)])


def unstack(stacked: Stacked) -> tuple[jax.Array, ...]:
    """The arrays of each layer."""
    return tuple(stacked)


def is_unstacked_on(mesh: Mesh) -> bool:
    """Whether sampling on these devices takes stacks apart."""
    return sharding.of_cpus(mesh)


def take(stacked: Stacked, layer: Index) -> jax.Array:
    """The array of one layer, [...] of [L, ...]."""
    if isinstance(layer, int):
        return stacked[layer]
    return jax.lax.dynamic_index_in_dim(jnp.asarray(stacked), layer, 0, keepdims=False)


def put(stacked: Stacked, layer: Index, x: jax.Array, at: Sequence[Index] = ()) -> Stacked:
    """`stacked` [L, ...] with `x` written into the array of one layer, from `at` on (its start).

    On devices it is the same memory.
    """
    at = tuple(at) or (0,) * x.ndim
    if isinstance(stacked, tuple):
        write = functools.partial(jax.lax.dynamic_update_slice, start_indices=at)
        new = move_bits(write, stacked[layer], x)
        return tuple(new if i == layer else old for i, old in enumerate(stacked))
    return jax.lax.dynamic_update_slice(stacked, x[None], (layer, *at))


def move_bits(move: Callable[..., jax.Array], *parts: jax.Array) -> jax.Array:
    """What `move` makes of arrays of one type: it puts their values elsewhere and changes none.

    On a CPU it sees integers in the place of 16 bits, which would be turned to 32 and back. No
    gradient goes through.
    """
    if parts[0].dtype.itemsize > 2:
        return move(*parts)

    def of_bits(*parts: jax.Array) -> jax.Array:
        return move(*(x.view(jnp.uint16) for x in parts)).view(parts[0].dtype)

    return jax.lax.platform_dependent(*parts, cpu=of_bits, default=move)


def as_it_is(compute: Callable[..., Any]) -> Callable[..., Any]:
    """A gradient keeps all that it needs."""
    return compute


def run(
    block: Any,
    period: int,
    each: Callable[..., tuple[jax.Array, Carry]],
    given: tuple[Stacked, ...],
    x: jax.Array,
    kept: Carry,
    remat: Remat = as_it_is,
) -> tuple[jax.Array, Carry]:
    """Runs the layers in their order.

    Args:
        block: all of them, stacked or in a list.
        period: layers that have the same place in it are alike.
        each: (block, index of the layer in `kept`, its place in the period, its arrays of `given`,
            x, kept) -> x, kept.
        given: what is stacked beside the weights, to be read.
        x: what the first layer gets.
        kept: what is stacked beside the weights, to be read and written.
        remat: wraps what computes a layer, as `jax.checkpoint` does. A layer's weights are cut out
            of their stack inside of it, or a gradient would keep a copy of them.

    Returns:
        `x` and `kept` as the last layer gives them.
    """
    if isinstance(block, nnx.List):
        return _run_apart(block, period, each, given, x, kept, remat)
    graph, weights = nnx.split(block)
    stacks = (weights, tuple(given))
    cycles = len(jax.tree.leaves(weights)[0]) // period

    def one(place: int, number: Index, parts: Any, x: jax.Array, kept: Carry) -> Any:
        mine, own = jax.tree.map(lambda part: part[place], parts)
        return each(nnx.merge(graph, mine), number * period + place, place, own, x, kept)

    def cycle(carry: Any, xs: Any) -> tuple[Any, None]:
        for place in range(period):
            carry = remat(functools.partial(one, place))(*xs, *carry)
        return carry, None

    parts = jax.tree.map(lambda x: x.reshape(cycles, period, *x.shape[1:]), stacks)
    return jax.lax.scan(cycle, (x, kept), (jnp.arange(cycles), parts))[0]


def _run_apart(
    blocks: nnx.List,
    period: int,
    each: Callable[..., tuple[jax.Array, Carry]],
    given: tuple[Stacked, ...],
    x: jax.Array,
    kept: Carry,
    remat: Remat,
) -> tuple[jax.Array, Carry]:
    """As `run`; Python goes through a layer once for all that are alike."""

    @functools.partial(jax.jit, static_argnums=(0, 1))
    def one(
        graph: nnx.GraphDef, place: int, weights: Any, own: Any, x: jax.Array, kept: Carry
    ) -> tuple[jax.Array, Carry]:
        def compute(weights: Any, own: Any, x: jax.Array, kept: Carry) -> tuple[jax.Array, Carry]:
            return each(nnx.merge(graph, weights), 0, place, own, x, kept)

        return remat(compute)(weights, own, x, kept)

    written = []
    for layer, block in enumerate(blocks):
        graph, weights = nnx.split(block)
        own = [take(stack, layer) for stack in given]
        part = tuple((take(stack, layer),) for stack in kept)
        x, part = one(graph, layer % period, weights, own, x, part)
        written.append(part)
    return x, tuple(tuple(part[stack][0] for part in written) for stack in range(len(kept)))


def names(name: str, count: int) -> list[str]:
    """What the layers' own weights are called: "blocks.mlp.up" is "blocks.0.mlp.up" and so on.

    A name outside of the blocks stays one.
    """
    first, _, rest = name.partition(".")
    return [f"blocks.{layer}.{rest}" for layer in range(count)] if first == "blocks" else [name]


def _is_weight(x: Any) -> bool:
    return isinstance(x, nnx.Variable)
