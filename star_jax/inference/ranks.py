"""Ranks of values, by searches that a CPU can vectorize.

Shapes: B rows, V vocabulary, N values.
"""

import jax
import jax.numpy as jnp
import numpy as np

_SMALLEST, _LARGEST = 64, 512  # sizes of a block that `highest` searches
_SHARES = (64, 32, 16, 8, 4, 2, 1)  # numbers of devices that may share a vocabulary
_SIGN = np.uint32(1 << 31)


def highest(x_BxV: jax.Array) -> jax.Array:
    """Returns the index of the highest value of each row, the first of equal ones, [B] int32.

    `jnp.argmax` is not vectorized on CPUs, but `jnp.max` is. So the block that holds the highest
    value is found first, then the index in the block.
    """
    rows, vocab = x_BxV.shape
    size = block(vocab)
    if not size:
        return jnp.argmax(x_BxV, axis=-1).astype(jnp.int32)
    blocks = x_BxV.reshape(rows, vocab // size, size)
    first = jnp.argmax(blocks.max(-1), axis=-1)
    own = jnp.arange(vocab // size) == first[:, None]
    index = jnp.argmax(jnp.where(own[..., None], blocks, -jnp.inf).max(1), axis=-1)
    return (first * size + index).astype(jnp.int32)


def block(vocab: int) -> int:
    """Returns the size of the blocks that `highest` searches; 0: the vocabulary has none.

    The size divides a device's part of the vocabulary, for the largest possible number of devices
    that is a power of two.
    """
    for shares in _SHARES:
        for size in range(_LARGEST, _SMALLEST - 1, -1) if vocab % shares == 0 else ():
            if vocab // shares % size == 0:
                return size
    return 0


def kth_highest(x_BxN: jax.Array, k: int) -> jax.Array:
    """Returns the k-th highest value of each row, [B, 1]; the lowest where there are fewer.

    Args:
        x_BxN: float32 values without NaN.
        k: rank, from 1 on.
    """
    bits = jax.lax.bitcast_convert_type(x_BxN, jnp.uint32)
    order = jnp.where(bits >= _SIGN, ~bits, bits | _SIGN)  # has the order of the values
    k = min(k, x_BxN.shape[1])

    def halve(step: jax.Array, found: jax.Array) -> jax.Array:
        higher = found | (_SIGN >> step.astype(jnp.uint32))
        enough = jnp.sum(order >= higher, axis=1, keepdims=True) >= k
        return jnp.where(enough, higher, found)

    found = jax.lax.fori_loop(0, 32, halve, jnp.zeros((x_BxN.shape[0], 1), jnp.uint32))
    bits = jnp.where(found >= _SIGN, found & ~_SIGN, ~found)
    return jax.lax.bitcast_convert_type(bits, jnp.float32)
