"""Products of activations with weights, in the form that each kind of device computes fastest.

On a CPU that multiplies bfloat16, the result must be float32 and the operands must lie in memory as
they are. If the result is to be bfloat16, or an operand is a transposition, XLA converts both
operands to float32 first and takes twice as long. Products of float32, too, are slower over the
first axis of both operands. Other devices round the result as they write it.

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
    """Returns the product of activations and a weight, [.., N..].

    The weight is converted to the type of x for the product; its gradient has the weight's type.

    Args:
        x: activations [.., E].
        weight: weight [E, N..], or [N, E] with `rows`.
        wide: True for a float32 result (`ComputeConfig.on_cpu`), False for the type of x.
        rows: True if the rows of the weight are its outputs.
    """
    if not wide:
        return jnp.tensordot(x, weight.astype(x.dtype), ((-1,), (1,)) if rows else 1)
    shape = weight.shape[:1] if rows else weight.shape[1:]
    x_MxE, matrix = x.reshape(-1, x.shape[-1]), weight.reshape(weight.shape[0], -1)
    return cast(jax.Array, _wide(rows, x_MxE, matrix)).reshape(*x.shape[:-1], *shape)


def matmuls(x: jax.Array, weights: Sequence[jax.Array], *, wide: bool) -> list[jax.Array]:
    """Returns the product of x [.., E] with each weight [E, N, D], in the type of x: [.., N, D].

    With `wide`, weights of different widths are concatenated for one product, because a CPU is less
    busy with narrow ones. In a loop over tokens XLA concatenates them once, before the loop.
    """
    widths = [weight.shape[1] for weight in weights]
    if not wide or len(set(widths)) == 1:
        return [matmul(x, weight, wide=wide).astype(x.dtype) for weight in weights]
    ends = np.cumsum(widths)[:-1]
    product = matmul(x, jnp.concatenate(weights, axis=1), wide=True)
    return [part.astype(x.dtype) for part in jnp.split(product, ends, axis=-2)]


def embed(
    table_VxE: jax.Array, index: jax.Array, dtype: DTypeLike, *, on_cpu: bool = False
) -> jax.Array:
    """Returns rows `index` [...] of a table [V, E]: [..., E]; gradients have the table's type."""
    table = table_VxE if on_cpu else cast(jax.Array, _isolated(table_VxE))
    return table[index].astype(dtype)


@jax.custom_vjp
def _isolated(table: jax.Array) -> jax.Array:
    """Returns the table; its gradient is complete before it is added to another.

    Otherwise XLA for TPUs may move the sum over devices out of the loop over micro-batches and lose
    parts of it (openxla/xla#49143).
    """
    return table


_isolated.defvjp(lambda table: (table, None), lambda _, g: (jax.lax.optimization_barrier(g),))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _wide(rows: bool, x_MxE: jax.Array, weight: jax.Array) -> jax.Array:
    return _multiply(x_MxE, weight.astype(x_MxE.dtype), 1, int(rows))


def _forward(
    rows: bool, x: jax.Array, weight: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _wide(rows, x, weight), (x, weight)


def _backward(
    rows: bool, residuals: tuple[jax.Array, jax.Array], grad_MxN: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns the gradients; both operands of their products have the type of x too."""
    x, weight = residuals
    grad = grad_MxN.astype(x.dtype)
    grad_x = _multiply(grad, weight.astype(x.dtype), 1, int(not rows))
    grad_weight = _over_tokens(grad, x) if rows else _over_tokens(x, grad)
    return grad_x.astype(x.dtype), grad_weight.astype(weight.dtype)


_wide.defvjp(_forward, _backward)


def _multiply(a: jax.Array, b: jax.Array, over_a: int, over_b: int) -> jax.Array:
    axes = (((over_a,), (over_b,)), ((), ()))
    return jax.lax.dot_general(a, b, axes, preferred_element_type=jnp.float32)


def _over_tokens(a_MxA: jax.Array, b_MxB: jax.Array) -> jax.Array:
    """Returns the product over tokens, [A, B]; the smaller operand is transposed for it."""
    if a_MxA.shape[1] <= b_MxB.shape[1]:
        return _multiply(_transpose(a_MxA), b_MxB, 1, 0)
    # The barrier keeps XLA from making the transposition part of the product.
    return jax.lax.optimization_barrier(_multiply(_transpose(b_MxB), a_MxA, 1, 0)).T


def _transpose(x: jax.Array) -> jax.Array:
    """Transposes a matrix row by row, so that XLA cannot make that part of a product."""
    rows = jnp.arange(x.shape[1])
    return stacking.move_bits(lambda x: x.T[rows], x)
