"""The blocks of a decoder as one block with stacked weights, run by a scan over the layers.

A program then holds the code of one block instead of one for every layer: its compile time does not
grow with the depth. Where layers differ by their attention windows, the body of the scan is one
period of layers (`ModelConfig.period`).

Keys and values are stacked too: arrays [L, ...] of L layers. A CPU would copy a layer out of the
stack for every token that is sampled, so sampling there unstacks them first (`unstack`, `blocks`):
tuples of L arrays, and a list of blocks that run one after the other.
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
Carry = tuple[Stacked, ...]  # stacks of which each layer reads and writes its own part
Index = jax.Array | int  # index of a layer; an int where the layers are unstacked
Remat = Callable[[Callable[..., Any]], Callable[..., Any]]
AXIS = "layers"  # the first axis of a stacked weight


def stack(parts: Sequence[M]) -> M:
    """Stacks L blocks of the same shape to one block: every weight [...] becomes [L, ...]."""

    def join(*weights: nnx.Param) -> nnx.Param:
        axes = (AXIS, *weights[0].get_metadata("axes"))
        return nnx.Param(jnp.stack([weight[...] for weight in weights]), axes=axes)

    graph, _ = nnx.split(parts[0])
    weights = [nnx.split(part)[1] for part in parts]
    return nnx.merge(graph, jax.tree.map(join, *weights, is_leaf=_is_weight))


def blocks(block: M) -> nnx.List[M]:
    """Returns the list of blocks that are stacked in `block`."""
    graph, weights = nnx.split(block)
    count = len(jax.tree.leaves(weights)[0])

    def cut(layer: int) -> Any:
        def take_layer(weight: nnx.Param) -> nnx.Param:
            return nnx.Param(weight[...][layer], axes=weight.get_metadata("axes")[1:])

        return jax.tree.map(take_layer, weights, is_leaf=_is_weight)

    return nnx.List([nnx.merge(graph, cut(layer)) for layer in range(count)])


def unstack(stacked: Stacked) -> tuple[jax.Array, ...]:
    """Returns the tuple of the layers' arrays."""
    return tuple(stacked)


def is_unstacked_on(mesh: Mesh) -> bool:
    """Returns whether sampling on these devices unstacks the layers first."""
    return sharding.of_cpus(mesh)


def take(stacked: Stacked, layer: Index) -> jax.Array:
    """Returns the array of one layer, [...] of [L, ...]."""
    if isinstance(layer, int):
        return stacked[layer]
    return jax.lax.dynamic_index_in_dim(jnp.asarray(stacked), layer, 0, keepdims=False)


def put(stacked: Stacked, layer: Index, x: jax.Array, at: Sequence[Index] = ()) -> Stacked:
    """Writes `x` into the array of one layer; in a compiled program this is done in place.

    Args:
        stacked: arrays of all layers, [L, ...].
        layer: index of the layer.
        x: values to write.
        at: index of each axis of the layer's array at which `x` begins; empty: its start.

    Returns:
        The stack with the new values.
    """
    at = tuple(at) or (0,) * x.ndim
    if isinstance(stacked, tuple):
        write = functools.partial(jax.lax.dynamic_update_slice, start_indices=at)
        new = move_bits(write, stacked[layer], x)
        return tuple(new if i == layer else old for i, old in enumerate(stacked))
    return jax.lax.dynamic_update_slice(stacked, x[None], (layer, *at))


def move_bits(move: Callable[..., jax.Array], *parts: jax.Array) -> jax.Array:
    """Applies `move`, which rearranges the values of arrays of one type and changes none.

    On a CPU it is applied to 16-bit floats as integers, because XLA would convert the floats to 32
    bits and back. No gradient passes through it.
    """
    if parts[0].dtype.itemsize > 2:
        return move(*parts)

    def move_integers(*parts: jax.Array) -> jax.Array:
        return move(*(x.view(jnp.uint16) for x in parts)).view(parts[0].dtype)

    return jax.lax.platform_dependent(*parts, cpu=move_integers, default=move)


def as_it_is(compute: Callable[..., Any]) -> Callable[..., Any]:
    """Returns `compute` unchanged: a `Remat` that stores everything for the gradient."""
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
        block: all blocks, stacked or in a list.
        period: number of layers after which their configuration repeats.
        each: function of a layer: (block, index of the layer in `kept`, its index in the period,
            its arrays of `given`, x, kept) -> x, kept.
        given: stacks that the layers read.
        x: input of the first layer.
        kept: stacks that the layers read and write.
        remat: wrapper of the function of a layer, such as `jax.checkpoint`. A layer's weights are
            cut out of their stack inside it; otherwise the gradient would store a copy of them.

    Returns:
        `x` and `kept` after the last layer.
    """
    if isinstance(block, nnx.List):
        return _run_unstacked(block, period, each, given, x, kept, remat)
    graph, weights = nnx.split(block)
    stacks = (weights, tuple(given))
    cycles = len(jax.tree.leaves(weights)[0]) // period

    def run_layer(offset: int, cycle: Index, parts: Any, x: jax.Array, kept: Carry) -> Any:
        weights, own = jax.tree.map(lambda part: part[offset], parts)
        return each(nnx.merge(graph, weights), cycle * period + offset, offset, own, x, kept)

    def run_cycle(carry: Any, xs: Any) -> tuple[Any, None]:
        for offset in range(period):
            carry = remat(functools.partial(run_layer, offset))(*xs, *carry)
        return carry, None

    parts = jax.tree.map(lambda x: x.reshape(cycles, period, *x.shape[1:]), stacks)
    return jax.lax.scan(run_cycle, (x, kept), (jnp.arange(cycles), parts))[0]


def _run_unstacked(
    blocks: nnx.List,
    period: int,
    each: Callable[..., tuple[jax.Array, Carry]],
    given: tuple[Stacked, ...],
    x: jax.Array,
    kept: Carry,
    remat: Remat,
) -> tuple[jax.Array, Carry]:
    """Runs a list of blocks as `run` does; layers of one configuration are traced once."""

    @functools.partial(jax.jit, static_argnums=(0, 1))
    def run_layer(
        graph: nnx.GraphDef, offset: int, weights: Any, own: Any, x: jax.Array, kept: Carry
    ) -> tuple[jax.Array, Carry]:
        def compute(weights: Any, own: Any, x: jax.Array, kept: Carry) -> tuple[jax.Array, Carry]:
            return each(nnx.merge(graph, weights), 0, offset, own, x, kept)

        return remat(compute)(weights, own, x, kept)

    written = []
    for layer, block in enumerate(blocks):
        graph, weights = nnx.split(block)
        own = [take(stack, layer) for stack in given]
        part = tuple((take(stack, layer),) for stack in kept)
        x, part = run_layer(graph, layer % period, weights, own, x, part)
        written.append(part)
    return x, tuple(tuple(part[stack][0] for part in written) for stack in range(len(kept)))


def names(name: str, count: int) -> list[str]:
    """Returns the names of the layers' weights: for "blocks.mlp.up" "blocks.0.mlp.up" and so on.

    For a name outside the blocks the result is this name alone.
    """
    first, _, rest = name.partition(".")
    return [f"blocks.{layer}.{rest}" for layer in range(count)] if first == "blocks" else [name]


def _is_weight(x: Any) -> bool:
    return isinstance(x, nnx.Variable)
