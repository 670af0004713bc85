"""Attention by the plain formula, over several sources of keys at once, and its gradient.

The scores are not stored: the gradient computes them again, from the logarithm of each query's sum
of exponentials (Dao et al., 2022, appendix B.2).

Shapes: B rows, T queries, S keys, H heads, K heads of keys and values, D head_dim; N = H / K * T
queries for each head of keys.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar, cast

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class KeySource:
    """S keys to attend to, and their values.

    Attributes:
        keys: keys; [B, K, S, D] as just computed; [B, K, D, S] as in the KV cache, where the few
            queries of a decoding step meet many keys; or [K, D, S], when all rows share them (the
            products are then dense matrix products).
        values: values; [B, K, S, D], or [K, D, S] when all rows share them.
        mask: bool, broadcasts to [B, 1, T, S]; True where a key may be seen. With one axis, [S],
            the masked keys must repeat the first key: the maximum then needs no pass to mask them.
        kept: True if keys are [B, K, D, S], as in the KV cache; static.
        first: [] int32, index of the first key that any query sees (keys [B, K, S, D] only). Most
            keys before it are neither read nor multiplied. None: there may be no such key.
    """

    keys: jax.Array
    values: jax.Array
    mask: jax.Array
    cached: bool = dataclasses.field(default=False, metadata={"static": True})
    first: jax.Array | None = None

    def last(self, count: int) -> "KeySource":
        """Returns the source of the last `count` keys, [B, K, S, D]."""
        keys, values = (x[..., -count:, :] for x in (self.keys, self.values))
        return KeySource(keys, values, self.mask[..., -count:])

    @property
    def shared(self) -> bool:
        """True if all rows share the keys; scores are then [K, B, N, S], otherwise [B, K, N, S]."""
        return self.keys.ndim == 3

    @property
    def axes(self) -> tuple[str, str, str, str]:
        """Einsum axes of the queries, the keys, the values and the scores."""
        if self.shared:
            return "kbnd", "kds", "kds", "kbns"
        return "bknd", "bkds" if self.cached else "bksd", "bksd", "bkns"

    def lay(self, x: jax.Array) -> jax.Array:
        """Orders axes [B, K, ..] as in the scores of this source; a second call restores them."""
        return x.swapaxes(0, 1) if self.shared else x

    def seen(self, length: int, queries: int) -> jax.Array:
        """Returns the mask of the scores of N queries; `length` is T."""
        mask = self.mask if self.mask.ndim == 1 else self.lay(self.mask)
        groups = queries // length
        if groups == 1 or mask.ndim == 1 or mask.shape[-2] == 1:
            return mask
        return jnp.concatenate([mask] * groups, axis=-2)


def attention(
    q_BxHxTxD: jax.Array, sources: Sequence[KeySource], *, scale: float, cap: float
) -> jax.Array:
    """Returns softmax attention of the queries over several sources of keys, [B, H, T, D].

    Each source is attended to separately, in float32. Its output is then weighted by the sum of the
    exponentials of its scores (log-sum-exp).

    Args:
        q_BxHxTxD: queries.
        sources: sources of keys and values.
        scale: factor on query-key products.
        cap: soft cap of the scores; 0 = none.
    """
    rows, heads, length, size = q_BxHxTxD.shape
    keys = sources[0].keys.shape[-3]
    q = (q_BxHxTxD * scale).reshape(rows, keys, heads // keys * length, size)
    out = cast(jax.Array, _attention(cap, length, q, tuple(sources)))
    return out.reshape(rows, heads, length, size)


def capped(x: jax.Array, cap: float) -> jax.Array:
    """Applies a soft cap: small values barely change, none exceeds `cap`."""
    return cap * jnp.tanh(x / cap)


T = TypeVar("T")
_FEW = (128, 256, 384)  # numbers of last keys that are multiplied where queries see no others
_Residuals = tuple[jax.Array, tuple[KeySource, ...], jax.Array, jax.Array]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _attention(
    cap: float, length: int, q_BxKxNxD: jax.Array, sources: tuple[KeySource, ...]
) -> jax.Array:
    return _forward(cap, length, q_BxKxNxD, sources)[0]


def _forward(
    cap: float, length: int, q_BxKxNxD: jax.Array, sources: tuple[KeySource, ...]
) -> tuple[jax.Array, _Residuals]:
    attend = functools.partial(_attend, cap, length, q_BxKxNxD)
    parts = [_on_seen_keys(attend, source) for source in sources]
    highest, total, mixed = parts[0]
    if len(parts) > 1:
        highest = functools.reduce(jnp.maximum, [part.highest for part in parts])
        shares = [jnp.exp(part.highest - highest) for part in parts]
        total = sum(part.total * share for part, share in zip(parts, shares, strict=True))
        mixed = sum(part.mixed * share for part, share in zip(parts, shares, strict=True))
    out = checkpoint_name(jnp.divide(mixed, total).astype(q_BxKxNxD.dtype), "attention")
    log_sum = checkpoint_name(highest + jnp.log(total), "attention")
    return out, (q_BxKxNxD, sources, out, log_sum)


def _backward(
    cap: float, length: int, residuals: _Residuals, grad: jax.Array
) -> tuple[jax.Array, tuple[KeySource, ...]]:
    """Returns the gradients of queries, keys and values; all products are in float32."""
    q, sources, out, log_sum = residuals
    grad = grad.astype(jnp.float32)
    # The mean gradient of a query's scores is subtracted: adding a constant to all changes nothing.
    mean = (grad * out).sum(-1, keepdims=True)

    def gradient(source: KeySource) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Returns one source's part of the queries' gradient, and its keys' and values'."""
        queries, keys, values, scores = source.axes
        k, v = (x.astype(jnp.float32) for x in (source.keys, source.values))
        q_, grad_, mean_, log_sum_ = (source.lay(x) for x in (q, grad, mean, log_sum))
        score = _scores(cap, q_, source)
        weight = jnp.where(source.seen(length, q.shape[2]), jnp.exp(score - log_sum_), 0)
        grad_v = jnp.einsum(f"{scores},{queries}->{values}", weight, grad_)
        grad_score = weight * (jnp.einsum(f"{queries},{values}->{scores}", grad_, v) - mean_)
        if cap:
            grad_score = grad_score * (1 - jnp.square(score / cap))
        grad_k = jnp.einsum(f"{scores},{queries}->{keys}", grad_score, q_.astype(jnp.float32))
        grad_q = source.lay(jnp.einsum(f"{scores},{keys}->{queries}", grad_score, k))
        return grad_q, grad_k.astype(source.keys.dtype), grad_v.astype(source.values.dtype)

    grad_q, source_grads = jnp.zeros_like(q, jnp.float32), []
    for source in sources:
        part, grad_k, grad_v = _on_seen_keys(gradient, source, _with_unseen)
        grad_q = grad_q + part
        source_grads.append(
            dataclasses.replace(source, keys=grad_k, values=grad_v, mask=None, first=None)
        )
    return grad_q.astype(q.dtype), tuple(source_grads)


_attention.defvjp(_forward, _backward)


def _on_seen_keys(
    compute: Callable[[KeySource], T],
    source: KeySource,
    extend: Callable[[int, T], T] = lambda count, result: result,
) -> T:
    """Returns the result of `compute` without most of the keys that no query sees.

    Args:
        compute: function of a source of keys.
        source: source of all keys.
        extend: function from the number of all keys and a result for fewer to the result for all.
    """
    if source.first is None:
        return compute(source)
    first, count = source.first, source.keys.shape[2]
    counts = [*(few for few in _FEW if few < count), count]

    def run(few: int) -> T:
        return extend(count, compute(source.last(few)))

    choice = sum((few < count - first for few in counts[:-1]), jnp.int32(0))
    return jax.lax.switch(choice, [functools.partial(run, few) for few in counts])


def _with_unseen(
    count: int, grads: tuple[jax.Array, jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Pads the gradients of the last keys and values with zeros to those of all `count`."""
    grad_q, grad_k, grad_v = grads
    padding = ((0, 0), (0, 0), (count - grad_k.shape[2], 0), (0, 0))
    return grad_q, jnp.pad(grad_k, padding), jnp.pad(grad_v, padding)


class _Attended(NamedTuple):
    """The unnormalised attention output of one source; [B, K, N, 1], `mixed` [B, K, N, D].

    Attributes:
        highest: highest score.
        total: sum of exp(score - highest).
        mixed: sum of the values, each weighted by exp(score - highest).
    """

    highest: jax.Array
    total: jax.Array
    mixed: jax.Array


def _attend(cap: float, length: int, q_BxKxNxD: jax.Array, source: KeySource) -> _Attended:
    """Attends to one source. Shared keys are fastest with the queries of all rows as one matrix."""
    scores = _scores(cap, source.lay(q_BxKxNxD), source)
    seen = source.seen(length, q_BxKxNxD.shape[2])
    if seen.ndim == 1:
        highest = jnp.where(seen[0], scores.max(-1, keepdims=True), -1e30)
        scores = jnp.where(seen, scores - highest, -1e30)
    else:
        scores = jnp.where(seen, scores, -1e30)
        highest = scores.max(-1, keepdims=True)
        scores = scores - highest
    weights = jnp.exp(scores)
    total, weights = weights.sum(-1, keepdims=True), weights.astype(source.values.dtype)
    queries, _, values, axes = source.axes
    axes = f"{axes},{values}->{queries}"
    mixed = jnp.einsum(axes, weights, source.values, preferred_element_type=jnp.float32)
    return _Attended(*(source.lay(x) for x in (highest, total, mixed)))


def _scores(cap: float, q: jax.Array, source: KeySource) -> jax.Array:
    """Returns the scores before the mask; `q` has its axes in the order of the scores."""
    queries, keys, _, axes = source.axes
    axes = f"{queries},{keys}->{axes}"
    scores = jnp.einsum(axes, q, source.keys, preferred_element_type=jnp.float32)
    return capped(scores, cap) if cap else scores
