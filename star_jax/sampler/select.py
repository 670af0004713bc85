"""Logits to the next token. B rows, V vocabulary."""

import dataclasses

import jax
import jax.numpy as jnp

_SMALLEST, _LARGEST = 64, 512  # values of a block that is searched for the highest
_SHARES = (64, 32, 16, 8, 4, 2, 1)  # devices that may share a vocabulary


@dataclasses.dataclass(frozen=True)
class Selection:
    """How a token is drawn.

    Attributes:
        temperature: 0 is greedy; otherwise logits are divided by it.
        top_k: only the k most likely tokens stay; 0 keeps all.
        top_p: the most likely tokens that together reach this probability stay; 1.0 keeps all.
        greedy: [] bool, greedy all the same; None: no. It is known only as the program runs.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    greedy: jax.Array | None = None


def select(logits_BxV: jax.Array, keys_B: jax.Array, selection: Selection) -> jax.Array:
    """The next token of each row, [B] int32; each row has its own random key."""
    if selection.temperature == 0.0:
        return highest(logits_BxV)

    def drawn(logits_BxV: jax.Array) -> jax.Array:
        logits = restrict(logits_BxV / selection.temperature, selection.top_k, selection.top_p)
        return jax.vmap(jax.random.categorical)(keys_B, logits).astype(jnp.int32)

    if selection.greedy is None:
        return drawn(logits_BxV)
    return jax.lax.cond(selection.greedy, highest, drawn, logits_BxV)


def highest(x_BxV: jax.Array) -> jax.Array:
    """The place of the highest value of each row, the first of equal ones, [B] int32.

    `jnp.argmax` is not vectorized on CPUs, `jnp.max` is: so first the block that has it, then the
    place in the block.
    """
    rows, vocab = x_BxV.shape
    size = block(vocab)
    if not size:
        return jnp.argmax(x_BxV, axis=-1).astype(jnp.int32)
    blocks = x_BxV.reshape(rows, vocab // size, size)
    first = jnp.argmax(blocks.max(-1), axis=-1)
    own = jnp.arange(vocab // size) == first[:, None]
    place = jnp.argmax(jnp.where(own[..., None], blocks, -jnp.inf).max(1), axis=-1)
    return (first * size + place).astype(jnp.int32)


def block(vocab: int) -> int:
    """Values of a block that is searched for the highest; 0: there are no such blocks.

    It divides a device's part of the vocabulary for as many devices, a power of two, as can be.
    """
    for shares in _SHARES:
        for size in range(_LARGEST, _SMALLEST - 1, -1) if vocab % shares == 0 else ():
            if vocab // shares % size == 0:
                return size
    return 0


def restrict(logits_BxV: jax.Array, top_k: int, top_p: float) -> jax.Array:
    """Sets to minus infinity what top-k, then top-p (Holtzman et al., 2020) leave out.

    The most likely token always stays. Of equal logits at the edge of top-k all stay.
    """
    if top_k:
        kth = jax.lax.top_k(logits_BxV, min(top_k, logits_BxV.shape[1]))[0][:, -1:]
        logits_BxV = jnp.where(logits_BxV < kth, -jnp.inf, logits_BxV)
    if top_p < 1.0:
        ordered = jnp.sort(logits_BxV, axis=-1, descending=True)
        probabilities = jax.nn.softmax(ordered, axis=-1)
        before = jnp.cumsum(probabilities, axis=-1) - probabilities
        last = jnp.sum(before < top_p, axis=-1, keepdims=True) - 1
        edge = jnp.take_along_axis(ordered, jnp.maximum(last, 0), axis=-1)
        logits_BxV = jnp.where(logits_BxV < edge, -jnp.inf, logits_BxV)
    return logits_BxV
