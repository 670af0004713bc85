"""Cross-entropy of the next token, from the residual stream, without all logits at once.

The logits of a batch are the largest array of an update: vocabulary times tokens, in float32. Here
those of a few tokens are there at a time, and their gradient is taken where they are: nothing of
them is kept and no product is done twice. (Rematerialising them would do the head's product again.)
On a CPU they are of weighted tokens alone: a third of those of a packed batch are questions.

Shapes: B packed sequences, T tokens each, E width, V vocabulary, N chunks of C tokens.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax

from star_jax.models import stacking
from star_jax.models.config import ModelConfig
from star_jax.models.head import Head, logits

CHUNK = 256  # tokens of a sequence whose logits are there at a time; on a CPU, of all sequences

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
    chunks = _chunks(config, x_BxTxE, targets_BxT, weights_BxT)

    def add(chunk: jax.Array, sums: Sums) -> Sums:
        return jax.tree.map(jnp.add, sums, _sums(config, head, *chunks.take(chunk)))

    return jax.lax.fori_loop(0, chunks.weighted, add, _nothing())


def _forward(
    config: ModelConfig, head: Head, x: jax.Array, targets: jax.Array, weights: jax.Array
) -> tuple[Sums, tuple[Head, jax.Array]]:
    """The sums, and the gradient of the first of them with respect to `head` and `x`."""
    both = jax.value_and_grad(functools.partial(_sums, config), argnums=(0, 1), has_aux=True)
    chunks = _chunks(config, x, targets, weights)

    def add(chunk: jax.Array, carry: Any) -> Any:
        sums, of_head, of_x = carry
        more, (of_head_too, part) = both(head, *chunks.take(chunk))
        sums, of_head = jax.tree.map(jnp.add, (sums, of_head), (more, of_head_too))
        return sums, of_head, jax.lax.dynamic_update_index_in_dim(of_x, part, chunk, 0)

    nothing = (_nothing(), *jax.tree.map(jnp.zeros_like, (head, chunks.x)))
    sums, of_head, of_x = jax.lax.fori_loop(0, chunks.weighted, add, nothing)
    return sums, (of_head, chunks.joined(of_x, x))


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


@dataclasses.dataclass(frozen=True)
class _Chunks:
    """The tokens in chunks.

    Attributes:
        x: [N, B, C, E].
        targets, weights: [N, B, C]; without weight where a token is missing.
        weighted: chunks from the first one on, beyond which no token has any weight.
        order: [B T], on a CPU, where chunks go over all sequences (then B is 1 here): which token
            is in each place; elsewhere None.
    """

    x: jax.Array
    targets: jax.Array
    weights: jax.Array
    weighted: jax.Array | int
    order: jax.Array | None

    def take(self, chunk: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """One chunk of each."""
        one = functools.partial(jax.lax.dynamic_index_in_dim, index=chunk, keepdims=False)
        return one(self.x), one(self.targets), one(self.weights)

    def joined(self, parts_NxBxCxE: jax.Array, like_BxTxE: jax.Array) -> jax.Array:
        """The chunks of something that is like `like_BxTxE` as that."""
        count, rows, size, width = parts_NxBxCxE.shape
        whole = parts_NxBxCxE.swapaxes(0, 1).reshape(rows, count * size, width)
        if self.order is None:
            return whole[:, : like_BxTxE.shape[1]]
        return _picked(whole[0], jnp.argsort(self.order)).reshape(like_BxTxE.shape)


def _chunks(config: ModelConfig, x: jax.Array, targets: jax.Array, weights: jax.Array) -> _Chunks:
    """Cuts [B, T, ...] to [N, B, C, ...].

    On a CPU the weighted tokens of all sequences come first, so that those that have none, such as
    the questions, are not multiplied with the head.
    """
    order = None
    if config.compute.on_cpu:
        order = jnp.argsort(weights.reshape(-1) == 0, stable=True)
        x, targets, weights = (
            _picked(each.reshape(-1, *each.shape[2:]), order)[None]
            for each in (x, targets, weights)
        )
    length = x.shape[1]
    size = min(CHUNK, length)
    weighted = -(-(jnp.count_nonzero(weights) if config.compute.on_cpu else length) // size)

    def cut(x: jax.Array) -> jax.Array:
        rows, length, *rest = x.shape
        x = jnp.pad(x, ((0, 0), (0, -length % size), *((0, 0) for _ in rest)))
        return x.reshape(rows, -1, size, *rest).swapaxes(0, 1)

    return _Chunks(cut(x), cut(targets), cut(weights), weighted, order)


def _picked(x_MxE: jax.Array, order_M: jax.Array) -> jax.Array:
    return stacking.move_bits(lambda x: x[order_M], x_MxE)
