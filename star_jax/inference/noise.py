"""The noise of random draws, to the bit that of `jax.random.gumbel`, at any indices.

jax makes noise for all tokens. On a CPU its rounds are loops over memory, and top-k needs the noise
of few tokens. A bit of jax's default generator depends on key and index alone (Threefry-2x32,
Salmon et al., 2011), so it can be made where it is needed.

Shapes: B rows, N indices, V vocabulary.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))  # of four rounds, by turns
_CYCLES = 5  # of four rounds
_PARITY = np.uint32(0x1BD11BDA)  # with both words of the key it makes the third
_TINY = np.finfo(np.float32).tiny


def gumbel(keys_B: jax.Array, index_BxN: jax.Array, vocab: int) -> jax.Array:
    """Returns `jax.random.gumbel(key, (vocab,), float32)` of each row's key at its indices, [B, N].

    Args:
        keys_B: random keys.
        index_BxN: indices from 0 to V - 1, int32; B or 1 rows.
        vocab: size V of the vocabulary.
    """
    if not _is_default(keys_B):
        noise = jax.vmap(lambda key: jax.random.gumbel(key, (vocab,), jnp.float32))(keys_B)
        index = jnp.broadcast_to(index_BxN, (keys_B.shape[0], index_BxN.shape[1]))
        return jnp.take_along_axis(noise, index, axis=1)
    words = jax.random.key_data(keys_B)
    index = index_BxN.astype(jnp.uint32)
    first, second = _threefry(words[:, :1], words[:, 1:], jnp.zeros_like(index), index)
    # 23 random bits are the fraction of a number from 1 to 2.
    bits = ((first ^ second) >> np.uint32(9)) | np.float32(1).view(np.uint32)
    uniform = jax.lax.bitcast_convert_type(bits, jnp.float32) - np.float32(1)
    return -jnp.log(-jnp.log(jnp.maximum(uniform, _TINY)))


def _is_default(keys: jax.Array) -> bool:
    """Returns whether jax draws with these keys as it does by default."""
    config: Any = jax.config
    return (
        str(jax.random.key_impl(keys)) == "threefry2x32"
        and config.jax_threefry_partitionable
        and not config.jax_high_dynamic_range_gumbel
    )


def _threefry(
    key_0: jax.Array, key_1: jax.Array, x_0: jax.Array, x_1: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns the two words of Threefry-2x32 with 20 rounds; all words are uint32."""
    keys = (key_0, key_1, key_0 ^ key_1 ^ _PARITY)
    x_0, x_1 = x_0 + key_0, x_1 + key_1
    for cycle in range(_CYCLES):
        for rotation in _ROTATIONS[cycle % 2]:
            x_0 = x_0 + x_1
            turned = (x_1 << np.uint32(rotation)) | (x_1 >> np.uint32(32 - rotation))
            x_1 = x_0 ^ turned
        x_0 = x_0 + keys[(cycle + 1) % 3]
        x_1 = x_1 + keys[(cycle + 2) % 3] + np.uint32(cycle + 1)
    return x_0, x_1
