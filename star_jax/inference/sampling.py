"""Logits to the next token. B rows, V vocabulary."""

import dataclasses

import jax
import jax.numpy as jnp

BROKEN = -1  # in the place of a token: the logits that it would come from are no numbers
_SMALLEST, _LARGEST = 64, 512  # values of a block that is searched for the highest
_SHARES = (64, 32, 16, 8, 4, 2, 1)  # devices that may share a vocabulary


@dataclasses.dataclass(frozen=True)
class SamplingParams:
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


def sample_tokens(logits_BxV: jax.Array, keys_B: jax.Array, selection: SamplingParams) -> jax.Array:
    """The next token of each row, [B] int32; each row has its own random key."""
    temperature = selection.temperature
    if temperature == 0.0:
        return highest(logits_BxV)

    def drawn(logits_BxV: jax.Array) -> jax.Array:
        # The draw of `jax.random.categorical` from logits / temperature, which would overflow where
        # that is small; its noise has the logits' type, and bfloat16 is too coarse for rare tokens.
        logits = restrict(logits_BxV, selection.top_k, selection.top_p, temperature)
        noise = jax.vmap(lambda key: jax.random.gumbel(key, logits.shape[1:], jnp.float32))(keys_B)
        return jnp.argmax(logits + temperature * noise, axis=-1).astype(jnp.int32)

    if selection.greedy is None:
        return drawn(logits_BxV)
    return jax.lax.cond(selection.greedy, highest, drawn, logits_BxV)


def is_broken(logits_BxV: jax.Array, token_B: jax.Array) -> jax.Array:
    """[B] bool: whether a row's token was selected from logits that are NaN or infinite.

    These are above all others, so the token is one of them; but a CPU's maximum may pass over a
    few that are NaN among numbers, as a damaged row of the head gives them.
    """
    return ~jnp.isfinite(jnp.take_along_axis(logits_BxV, token_B[:, None], axis=1)[:, 0])


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


def restrict(
    logits_BxV: jax.Array, top_k: int, top_p: float, temperature: float = 1.0
) -> jax.Array:
    """Sets to minus infinity what top-k, then top-p (Holtzman et al., 2020) leave out.

    Probabilities are those at the temperature, which the logits have not been divided by.

    The most likely token always stays. Of equal logits at the edge of top-k all stay.
    """
    if top_k:
        kth = jax.lax.top_k(logits_BxV, min(top_k, logits_BxV.shape[1]))[0][:, -1:]
        logits_BxV = jnp.where(logits_BxV < kth, -jnp.inf, logits_BxV)
    if top_p < 1.0:
        ordered = jnp.sort(logits_BxV, axis=-1, descending=True)
        # The highest is taken away first: the others may then become minus infinity, never NaN.
        probabilities = jax.nn.softmax((ordered - ordered[:, :1]) / temperature, axis=-1)
        before = jnp.cumsum(probabilities, axis=-1) - probabilities
        last = jnp.sum(before < top_p, axis=-1, keepdims=True) - 1
        edge = jnp.take_along_axis(ordered, jnp.maximum(last, 0), axis=-1)
        logits_BxV = jnp.where(logits_BxV < edge, -jnp.inf, logits_BxV)
    return logits_BxV
