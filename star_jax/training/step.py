"""The update: loss, gradient accumulation and one optimizer step.

Shapes: B packed sequences, T tokens each, A micro-batches, V vocabulary.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh

from star_jax.data.packing import Packed
from star_jax.models import kv_cache
from star_jax.models.attention import attend_segments, segment_starts
from star_jax.models.kv_cache import Prefix
from star_jax.models.loss import cross_entropy
from star_jax.models.params import Params
from star_jax.models.prefix_tokens import PrefixTokens
from star_jax.models.transformer import ANY_LAYOUT, Decoder, Keep, Layout
from star_jax.runtime import sharding
from star_jax.training.state import StarState

T = TypeVar("T")

# Batches are `Packed`, with arrays on the devices.
jax.tree_util.register_dataclass(
    Packed, data_fields=["tokens", "segments", "positions", "weights"], meta_fields=[]
)


def apply_gradients(
    optimizer: optax.GradientTransformation,
    state: StarState,
    gradients: Any,
    learning_rate: jax.Array | float,
) -> StarState:
    """Returns the state after one step of `optimizer` with rate `learning_rate`."""
    updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
    updates = jax.tree.map(lambda update: -learning_rate * update, updates)
    params = optax.apply_updates(state.params, updates)
    return dataclasses.replace(state, params=params, opt_state=opt_state, step=state.step + 1)


def token_loss(
    model: Decoder,
    batch: Packed,
    few_shot: PrefixTokens | None = None,
    *,
    remat: bool = False,
    mesh: Mesh | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Returns weighted cross-entropy and correct predictions, each summed over tokens.

    Args:
        model: decoder.
        batch: packed sequences.
        few_shot: few-shot prompt that precedes every segment; None: no prompt.
        remat: True for gradient checkpointing: only the input of each block is stored, its tokens
            split over the devices that share the heads, and the rest is computed again.
        mesh: devices that the program will run on, which choose the attention kernel; None for
            attention by the plain formula.

    Returns:
        Summed weighted cross-entropy in nats, [], and summed weight of correct predictions, [].
    """
    prefix = None
    if few_shot is not None:
        prefix = kv_cache.make_prefix(model, few_shot.tokens, few_shot.length)
    x = trained_hidden(model, batch, prefix, remat=remat, mesh=mesh)
    return cross_entropy(
        model.config, model.last, x[:, :-1], batch.tokens[:, 1:], batch.weights[:, 1:]
    )


def trained_hidden(
    model: Decoder, batch: Packed, prefix: Prefix | None = None, *, remat: bool, mesh: Mesh | None
) -> jax.Array:
    """Returns `packed_hidden`, of which is stored what the gradient needs (see `token_loss`)."""
    layout = split_layout(mesh) if mesh and remat else ANY_LAYOUT
    keep = "inputs" if remat else "products"
    return packed_hidden(model, batch, prefix, mesh=mesh, keep=keep, layout=layout)


def packed_hidden(
    model: Decoder,
    batch: Packed,
    prefix: Prefix | None = None,
    *,
    mesh: Mesh | None = None,
    keep: Keep = "everything",
    layout: Layout = ANY_LAYOUT,
) -> jax.Array:
    """Returns the normalised residual stream [B, T, E] of packed sequences.

    Args:
        model: decoder.
        batch: packed sequences.
        prefix: keys and values of the few-shot prompt that precedes every segment; None: no prompt.
        mesh: devices that the program will run on (`token_loss`).
        keep: activations of each block that are stored for the gradient.
        layout: sharding of the activations.
    """
    attend, positions, given = attend_segments(batch.segments, mesh), batch.positions, ()
    if prefix is not None:
        positions = positions + prefix.length
        begun_T = segment_starts(batch.segments, mesh)
        attend = kv_cache.attend_segments(batch.segments, positions, prefix, begun_T)
        given = (prefix.keys, prefix.values)
    return model.hidden(batch.tokens, positions, attend, given=given, keep=keep, layout=layout)[0]


def split_layout(mesh: Mesh) -> Layout:
    """Returns the layout that splits stored tokens over the devices that share the heads."""

    def lay(axis: str, x: jax.Array) -> jax.Array:
        return sharding.split(mesh, x, "batch", axis, None)

    return Layout(*(functools.partial(lay, axis) for axis in ("sequence", "length")))


def update(
    graph: nnx.GraphDef,
    optimizer: optax.GradientTransformation,
    accumulation: int,
    state: StarState,
    batch: Packed,
    learning_rate: jax.Array,
    few_shot: PrefixTokens | None = None,
    *,
    remat: bool = False,
    mesh: Mesh | None = None,
) -> tuple[StarState, dict[str, jax.Array]]:
    """Computes one optimizer step on a batch; pure.

    Gradients are summed over micro-batches, then divided by the weight of the whole batch.

    Args:
        graph: modules of the decoder without weights.
        optimizer: optimizer of the learner.
        accumulation: number of micro-batches; the result does not depend on it.
        state: state of the learner.
        batch: packed sequences.
        learning_rate: learning rate of this step, [].
        few_shot: few-shot prompt that precedes every segment; None: no prompt.
        remat: True for gradient checkpointing, which takes less memory and more time.
        mesh: devices that the program will run on (`token_loss`).

    Returns:
        The new state and metrics: loss (nats per weighted token), token_accuracy (share of the
        weighted tokens), gradient_norm (before clipping), tokens (padding not counted),
        learning_rate.
    """

    def loss_fn(params: Params, part: Packed) -> tuple[jax.Array, jax.Array]:
        model = nnx.merge(graph, params)
        return token_loss(model, part, few_shot, remat=remat, mesh=mesh)

    parts = batch if accumulation == 1 else jax.tree.map(lambda x: _split(x, accumulation), batch)
    grads, loss, correct = sum_gradients(loss_fn, state.params, parts, accumulation, jnp.float32(0))
    total = jnp.maximum(batch.weights[:, 1:].sum(), 1.0)
    grads = jax.tree.map(lambda g: g / total, grads)
    metrics = {
        "loss": loss / total,
        "token_accuracy": correct / total,
        "gradient_norm": optax.tree.norm(grads),
        "tokens": (batch.segments > 0).sum(),
        "learning_rate": learning_rate,
    }
    return apply_gradients(optimizer, state, grads, learning_rate), metrics


def sum_gradients(
    loss_fn: Callable[[Params, Any], tuple[jax.Array, T]],
    params: Params,
    parts: Any,
    accumulation: int,
    zero: T,
) -> tuple[Params, jax.Array, T]:
    """Sums the gradients of a loss over micro-batches.

    Args:
        loss_fn: function of the weights and a micro-batch; returns its loss, summed, and more sums.
        params: weights.
        parts: micro-batches along a first axis [A, ...]; without that axis if there is only one.
        accumulation: number of micro-batches, A.
        zero: zeros of the type of the second result of `loss_fn`.

    Returns:
        The gradients, the loss and the other sums, of all micro-batches.
    """

    def sums(part: Any) -> tuple[Params, jax.Array, T]:
        (loss, more), grads = jax.value_and_grad(loss_fn, has_aux=True)(params, part)
        return grads, loss, more

    def add(carry: tuple, part: Any) -> tuple[tuple, None]:
        return jax.tree.map(jnp.add, carry, sums(part)), None

    if accumulation == 1:  # a scan would hold the gradients twice: the sum and a summand
        return sums(parts)
    zeros = (jax.tree.map(jnp.zeros_like, params), jnp.float32(0), zero)
    return jax.lax.scan(add, zeros, parts)[0]


def _split(x: jax.Array, parts: int) -> jax.Array:
    """Cuts [B, ...] to [A, B/A, ...]; a micro-batch has rows of every shard of the batch axis."""
    return x.reshape(x.shape[0] // parts, parts, *x.shape[1:]).swapaxes(0, 1)
