"""Products of activations with weights, the way each kind of device is fast at them.

A CPU that multiplies bfloat16 has such products come out in float32, from sides that lie in memory
as they are: asked for bfloat16, or for a product of what has just been transposed, XLA turns both
sides to float32 first, and takes twice as long. Those of float32, too, are slower over the first
axis of both sides. Other devices round as they write.

Shapes: M tokens, E, N and D (A and B) widths.
"""

import functools
from collections.abc import Sequence
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from star_jax.models import stacking


def matmul(x: jax.Array, weight: jax.Array, *, wide: bool, rows: bool = False) -> jax.Array:
    """Of x [.., E] and a weight [E, N..], or [N, E] with `rows`; [.., N..].

    It is in the type of x, or with `wide` in float32 (`ModelConfig.cpu`). The weight is multiplied
    in the type of x; its gradient has its own.
    """
    if not wide:
        return jnp.tensordot(x, weight.astype(x.dtype), ((-1,), (1,)) if rows else 1)
    shape = weight.shape[:1] if rows else weight.shape[1:]
    x_MxE, matrix = x.reshape(-1, x.shape[-1]), weight.reshape(weight.shape[0], -1)
    return cast(jax.Array, _wide(rows, x_MxE, matrix)).reshape(*x.shape[:-1], *shape)


def matmuls(x: jax.Array, weights: Sequence[jax.Array], *, wide: bool) -> list[jax.Array]:
    """Of x [.., E] and each of the weights [E, N, D], in the type of x; [.., N, D].

    With `wide` it is one product with all of them where some are narrower than others: those keep
    a CPU less busy. In a loop over tokens they are put together once, before it.
    """
    widths = [weight.shape[1] for weight in weights]
    if not wide or len(set(widths)) == 1:
        return [matmul(x, weight, wide=wide).astype(x.dtype) for weight in weights]
    ends = np.cumsum(widths)[:-1]
    found = matmul(x, jnp.concatenate(weights, axis=1), wide=True)
    return [part.astype(x.dtype) for part in jnp.split(found, ends, axis=-2)]


def embed(
    table_VxE: jax.Array, index: jax.Array, dtype: DTypeLike, *, cpu: bool = False
) -> jax.Array:
    """Rows of a table [V, E] at `index` [...]: [..., E]; the gradient is of the table's type."""
    table = table_VxE if cpu else cast(jax.Array, _alone(table_VxE))
    return table[index].astype(dtype)


@jax.custom_vjp
def _alone(table: jax.Array) -> jax.Array:
    """The table; its gradient is whole before it is added to another.

    XLA for TPUs may otherwise move the sum over devices out of the loop over micro-batches, and
    lose parts of it (openxla/xla#49143).
    """
    return table


_alone.defvjp(lambda table: (table, None), lambda _, g: (jax.lax.optimization_barrier(g),))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _wide(rows: bool, x_MxE: jax.Array, weight: jax.Array) -> jax.Array:
    return _multiply(x_MxE, weight.astype(x_MxE.dtype), 1, int(rows))


def _forward(
    rows: bool, x: jax.Array, weight: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _wide(rows, x, weight), (x, weight)


def _backward(
    rows: bool, kept: tuple[jax.Array, jax.Array], wanted_MxN: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Its products, too, are of two sides in the type of x."""
    x, weight = kept
    wanted = wanted_MxN.astype(x.dtype)
    of_x = _multiply(wanted, weight.astype(x.dtype), 1, int(not rows))
    of_weight = _over_tokens(wanted, x) if rows else _over_tokens(x, wanted)
    return of_x.astype(x.dtype), of_weight.astype(weight.dtype)


_wide.defvjp(_forward, _backward)


def _multiply(a: jax.Array, b: jax.Array, over_a: int, over_b: int) -> jax.Array:
    axes = (((over_a,), (over_b,)), ((), ()))
    return jax.lax.dot_general(a, b, axes, preferred_element_type=jnp.float32)


def _over_tokens(a_MxA: jax.Array, b_MxB: jax.Array) -> jax.Array:
    """[A, B], by a product that has the smaller of the two transposed."""
    if a_MxA.shape[1] <= b_MxB.shape[1]:
        return _multiply(_transposed(a_MxA), b_MxB, 1, 0)
    # The barrier keeps XLA from making the transposition part of the product.
    return jax.lax.optimization_barrier(_multiply(_transposed(b_MxB), a_MxA, 1, 0)).T


def _transposed(x: jax.Array) -> jax.Array:
    """Picked row by row, so that XLA cannot make it part of a product."""
    rows = jnp.arange(x.shape[1])
    return stacking.move_bits(lambda x: x.T[rows], x)
