"""Cross-entropy of the next token, from the residual stream, without all logits at once.

The logits of a batch are the largest array of an update: vocabulary times tokens, in float32. Here
those of a few tokens are there at a time, and their gradient is taken where they are: nothing of
them is kept and no product is done twice. (Rematerialising them would do the head's product again.)

Shapes: B packed sequences, T tokens each, E width, V vocabulary, N chunks of C tokens.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax

from star_jax.model.config import ModelConfig
from star_jax.model.head import Head, logits

CHUNK = 256  # tokens of a sequence whose logits are there at a time

Sums = tuple[jax.Array, jax.Array]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def cross_entropy(
    config: ModelConfig,
    head: Head,
    x_BxTxE: jax.Array,
    targets_BxT: jax.Array,
    weights_BxT: jax.Array,
) -> Sums:
    """Summed weighted cross-entropy in nats, [], and how many weighted tokens were right, [].

    A token is right whose logit is the highest, or as high as that. A gradient flows to `head` and
    `x_BxTxE` alone.
    """

    def add(sums: Sums, part: tuple[jax.Array, ...]) -> tuple[Sums, None]:
        return jax.tree.map(jnp.add, sums, _sums(config, head, *part)), None

    return jax.lax.scan(add, _nothing(), _chunks(x_BxTxE, targets_BxT, weights_BxT))[0]


def _forward(
    config: ModelConfig, head: Head, x: jax.Array, targets: jax.Array, weights: jax.Array
) -> tuple[Sums, tuple[Head, jax.Array]]:
    """The sums, and the gradient of the first of them with respect to `head` and `x`."""
    both = jax.value_and_grad(functools.partial(_sums, config), argnums=(0, 1), has_aux=True)

    def add(carry: Any, part: tuple[jax.Array, ...]) -> tuple[Any, jax.Array]:
        sums, (of_head, of_x) = both(head, *part)
        return jax.tree.map(jnp.add, carry, (sums, of_head)), of_x

    nothing = (_nothing(), jax.tree.map(jnp.zeros_like, head))
    (sums, of_head), of_x = jax.lax.scan(add, nothing, _chunks(x, targets, weights))
    return sums, (of_head, _joined(of_x)[:, : x.shape[1]])


def _backward(
    config: ModelConfig, kept: tuple[Head, jax.Array], wanted: Sums
) -> tuple[Head, jax.Array, None, None]:
    del config
    return *jax.tree.map(lambda x: (x * wanted[0]).astype(x.dtype), kept), None, None


cross_entropy.defvjp(_forward, _backward)


def _nothing() -> Sums:
    return jnp.float32(0), jnp.float32(0)


def _sums(
    config: ModelConfig, head: Head, x_BxCxE: jax.Array, targets: jax.Array, weights: jax.Array
) -> Sums:
    """As `cross_entropy`, of one chunk."""
    found = logits(config, head, x_BxCxE)
    loss = optax.softmax_cross_entropy_with_integer_labels(found, targets)
    # The highest is in the loss already; `argmax` would go through all logits again, and slowly.
    own = jnp.take_along_axis(found, targets[..., None], axis=-1)[..., 0]
    right = jnp.sum(jax.lax.stop_gradient(own >= found.max(-1)) * weights)
    return jnp.sum(loss * weights), right


def _chunks(*parts: jax.Array) -> tuple[jax.Array, ...]:
    """[B, T, ...] to [N, B, C, ...]; zeros, and so no weight, on what is missing."""

    def cut(x: jax.Array) -> jax.Array:
        rows, length, *rest = x.shape
        size = min(CHUNK, length)
        x = jnp.pad(x, ((0, 0), (0, -length % size), *((0, 0) for _ in rest)))
        return x.reshape(rows, -1, size, *rest).swapaxes(0, 1)

    return tuple(map(cut, parts))


def _joined(x_NxBxCxE: jax.Array) -> jax.Array:
    count, rows, size, width = x_NxBxCxE.shape
    return x_NxBxCxE.swapaxes(0, 1).reshape(rows, count * size, width)
