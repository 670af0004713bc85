"""Cross-entropy and log-probabilities of the next token, from the residual stream.

The logits of a batch are the largest array of an update: vocabulary times tokens, in float32. Here
the logits of one chunk of tokens exist at a time, and the chunk's gradient is computed with them:
no logits are stored and no product is done twice. (Rematerialisation would repeat the product of
the head.) On a CPU the chunks have weighted tokens only: a third of a packed batch are questions.

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

CHUNK = 256  # tokens of a chunk in each sequence; on a CPU, in all sequences together

Sums = tuple[jax.Array, jax.Array]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def cross_entropy(
    config: ModelConfig,
    head: Head,
    x_BxTxE: jax.Array,
    targets_BxT: jax.Array,
    weights_BxT: jax.Array,
) -> Sums:
    """Returns weighted cross-entropy and correct predictions, each summed over tokens.

    A prediction is correct if no logit is higher than that of the target.

    Args:
        config: configuration of the decoder.
        head: weights of the head; gradients flow to it.
        x_BxTxE: residual stream; gradients flow to it, and to nothing else but `head`.
        targets_BxT: int32, the next tokens.
        weights_BxT: float32, weight of each prediction.

    Returns:
        Summed weighted cross-entropy in nats, [], and summed weight of correct predictions, [].
    """
    chunks = _chunks(config, x_BxTxE, targets_BxT, weights_BxT)

    def add(chunk: jax.Array, sums: Sums) -> Sums:
        return jax.tree.map(jnp.add, sums, _sums(config, head, *chunks.take(chunk)))

    return jax.lax.fori_loop(0, chunks.weighted, add, _zero_sums())


def _forward(
    config: ModelConfig, head: Head, x: jax.Array, targets: jax.Array, weights: jax.Array
) -> tuple[Sums, tuple[Head, jax.Array]]:
    """Returns the sums, and the gradient of the first with respect to `head` and `x`."""
    sums_of_chunk = functools.partial(_sums, config)
    value_and_grad = jax.value_and_grad(sums_of_chunk, argnums=(0, 1), has_aux=True)
    chunks = _chunks(config, x, targets, weights)

    def add(chunk: jax.Array, carry: Any) -> Any:
        sums, grad_head, grad_x = carry
        more, (more_head, part) = value_and_grad(head, *chunks.take(chunk))
        sums, grad_head = jax.tree.map(jnp.add, (sums, grad_head), (more, more_head))
        return sums, grad_head, jax.lax.dynamic_update_index_in_dim(grad_x, part, chunk, 0)

    zeros = (_zero_sums(), *jax.tree.map(jnp.zeros_like, (head, chunks.x)))
    sums, grad_head, grad_x = jax.lax.fori_loop(0, chunks.weighted, add, zeros)
    return sums, (grad_head, chunks.joined(grad_x, x))


def _backward(
    config: ModelConfig, residuals: tuple[Head, jax.Array], grads: Sums
) -> tuple[Head, jax.Array, None, None]:
    del config
    return *jax.tree.map(lambda x: (x * grads[0]).astype(x.dtype), residuals), None, None


cross_entropy.defvjp(_forward, _backward)


def token_log_probs(
    config: ModelConfig,
    head: Head,
    x_BxTxE: jax.Array,
    targets_BxT: jax.Array,
    weights_BxT: jax.Array,
) -> jax.Array:
    """Returns the log-probability of each target that has weight; it has no gradient.

    Args:
        config: configuration of the decoder.
        head: weights of the head.
        x_BxTxE: residual stream.
        targets_BxT: int32, the next tokens.
        weights_BxT: float32; predictions of weight 0 are left out.

    Returns:
        Log-probabilities in nats, float32 [B, T]; 0 where the weight is 0.
    """
    chunks = _chunks(config, x_BxTxE, targets_BxT, weights_BxT)

    def put(chunk: jax.Array, found: jax.Array) -> jax.Array:
        x, targets, weights = chunks.take(chunk)
        loss = optax.softmax_cross_entropy_with_integer_labels(logits(config, head, x), targets)
        part = jnp.where(weights != 0, -loss, 0.0)
        return jax.lax.dynamic_update_index_in_dim(found, part, chunk, 0)

    found = jnp.zeros(chunks.targets.shape, jnp.float32)
    found = jax.lax.fori_loop(0, chunks.weighted, put, found)
    return chunks.joined(found[..., None], targets_BxT[..., None])[..., 0]


def _zero_sums() -> Sums:
    return jnp.float32(0), jnp.float32(0)


def _sums(
    config: ModelConfig, head: Head, x_BxCxE: jax.Array, targets: jax.Array, weights: jax.Array
) -> Sums:
    """Returns the sums of `cross_entropy` for one chunk."""
    logits_BxCxV = logits(config, head, x_BxCxE)
    loss = optax.softmax_cross_entropy_with_integer_labels(logits_BxCxV, targets)
    # The loss computes the highest logit already; `argmax` would be another slow pass over them.
    own = jnp.take_along_axis(logits_BxCxV, targets[..., None], axis=-1)[..., 0]
    correct = jnp.sum(jax.lax.stop_gradient(own >= logits_BxCxV.max(-1)) * weights)
    return jnp.sum(loss * weights), correct


@dataclasses.dataclass(frozen=True)
class _Chunks:
    """The tokens in chunks.

    Attributes:
        x: residual stream [N, B, C, E].
        targets, weights: targets and weights [N, B, C]; padding has weight 0.
        weighted: number of leading chunks after which no token has weight.
        order: [B T] int32, on a CPU, where chunks go over all sequences (B is then 1 above): the
            token at each index; None on other devices.
    """

    x: jax.Array
    targets: jax.Array
    weights: jax.Array
    weighted: jax.Array | int
    order: jax.Array | None

    def take(self, chunk: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Returns residual stream, targets and weights of one chunk."""
        one = functools.partial(jax.lax.dynamic_index_in_dim, index=chunk, keepdims=False)
        return one(self.x), one(self.targets), one(self.weights)

    def joined(self, parts_NxBxCxE: jax.Array, like_BxTxE: jax.Array) -> jax.Array:
        """Joins chunks of an array of the shape of `like_BxTxE` to that shape."""
        count, rows, size, width = parts_NxBxCxE.shape
        whole = parts_NxBxCxE.swapaxes(0, 1).reshape(rows, count * size, width)
        if self.order is None:
            return whole[:, : like_BxTxE.shape[1]]
        return _reorder(whole[0], jnp.argsort(self.order)).reshape(like_BxTxE.shape)


def _chunks(config: ModelConfig, x: jax.Array, targets: jax.Array, weights: jax.Array) -> _Chunks:
    """Cuts [B, T, ...] to [N, B, C, ...].

    On a CPU the weighted tokens of all sequences come first, so that tokens without weight, such as
    those of the questions, are not multiplied with the head.
    """
    order = None
    if config.compute.on_cpu:
        order = jnp.argsort(weights.reshape(-1) == 0, stable=True)
        x, targets, weights = (
            _reorder(each.reshape(-1, *each.shape[2:]), order)[None]
            for each in (x, targets, weights)
        )
    length = x.shape[1]
    size = min(CHUNK, length)
    weighted = -(-(jnp.count_nonzero(weights) if config.compute.on_cpu else length) // size)

    def cut(x: jax.Array) -> jax.Array:
        rows, length, *rest = x.shape
        x = jnp.pad(x, ((0, 0), (0, -length % size), *((0, 0) for _ in rest)))
        return x.reshape(rows, -1, size, *rest).swapaxes(0, 1)

    return _Chunks(
        x=cut(x), targets=cut(targets), weights=cut(weights), weighted=weighted, order=order
    )


def _reorder(x_MxE: jax.Array, order_M: jax.Array) -> jax.Array:
    return stacking.move_bits(lambda x: x[order_M], x_MxE)
