"""Attention by the plain formula, over several sources of keys at once, and its gradient.

Of the scores nothing is kept: the gradient computes them again, from the logarithm of each
query's sum of exponentials (Dao et al., 2022, appendix B.2).

Shapes: B rows, T queries, S keys, H heads, K heads of keys and values, D head_dim; N = H / K * T
queries of a head of keys.
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
    """Keys to be attended to, S of them, and their values.

    Attributes:
        keys: [B, K, S, D] as they were just computed; [B, K, D, S] as they are kept, where the few
            queries of a decoding step meet many; or [K, D, S], when all rows share them (then the
            products are dense ones of matrices).
        values: [B, K, S, D], or [K, D, S] when all rows share them.
        mask: broadcasts to [B, 1, T, S]; True where a key may be seen. With one axis, [S], those
            that may not repeat the first key: then no pass over the scores is needed for it.
        kept: whether keys are [B, K, D, S], as in the cache; static.
        first: [] int32, no query sees a key before this one (keys [B, K, S, D] only). Most of what
            comes before is then neither read nor multiplied; None: there may be no such key.
    """

    keys: jax.Array
    values: jax.Array
    mask: jax.Array
    kept: bool = dataclasses.field(default=False, metadata={"static": True})
    first: jax.Array | None = None

    def last(self, count: int) -> "KeySource":
        """Its last `count` keys, [B, K, S, D]."""
        keys, values = (x[..., -count:, :] for x in (self.keys, self.values))
        return KeySource(keys, values, self.mask[..., -count:])

    @property
    def shared(self) -> bool:
        """Whether all rows share them: scores are [K, B, N, S], and otherwise [B, K, N, S]."""
        return self.keys.ndim == 3

    @property
    def axes(self) -> tuple[str, str, str, str]:
        """Of queries, its keys, its values and the scores, in products of them."""
        if self.shared:
            return "kbnd", "kds", "kds", "kbns"
        return "bknd", "bkds" if self.kept else "bksd", "bksd", "bkns"

    def lay(self, x: jax.Array) -> jax.Array:
        """[B, K, ..] as its scores have these axes, and back again."""
        return x.swapaxes(0, 1) if self.shared else x

    def seen(self, length: int, queries: int) -> jax.Array:
        """The mask of the scores of N queries of `length` places."""
        mask = self.mask if self.mask.ndim == 1 else self.lay(self.mask)
        groups = queries // length
        if groups == 1 or mask.ndim == 1 or mask.shape[-2] == 1:
            return mask
        return jnp.concatenate([mask] * groups, axis=-2)


def attention(
    q_BxHxTxD: jax.Array, sources: Sequence[KeySource], *, scale: float, cap: float
) -> jax.Array:
    """Softmax attention of the queries over several sources of keys at once, [B, H, T, D].

    Each source is attended to by itself, in float32, and what comes of it weighs as much as its
    keys together (log-sum-exp).

    Args:
        q_BxHxTxD: queries.
        sources: of keys.
        scale: of query-key products.
        cap: soft cap of the scores; 0 = none.
    """
    rows, heads, length, size = q_BxHxTxD.shape
    keys = sources[0].keys.shape[-3]
    q = (q_BxHxTxD * scale).reshape(rows, keys, heads // keys * length, size)
    out = cast(jax.Array, _attention(cap, length, q, tuple(sources)))
    return out.reshape(rows, heads, length, size)


def capped(x: jax.Array, cap: float) -> jax.Array:
    """Soft cap: x where it is small, never beyond `cap`."""
    return cap * jnp.tanh(x / cap)


T = TypeVar("T")
_FEW = (128, 256, 384)  # keys: no more than so many are multiplied where queries see no others
_Kept = tuple[jax.Array, tuple[KeySource, ...], jax.Array, jax.Array]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _attention(
    cap: float, length: int, q_BxKxNxD: jax.Array, sources: tuple[KeySource, ...]
) -> jax.Array:
    return _forward(cap, length, q_BxKxNxD, sources)[0]


def _forward(
    cap: float, length: int, q_BxKxNxD: jax.Array, sources: tuple[KeySource, ...]
) -> tuple[jax.Array, _Kept]:
    attend = functools.partial(_attend, cap, length, q_BxKxNxD)
    found = [_of_seen(attend, source) for source in sources]
    highest, total, mixed = found[0]
    if len(found) > 1:
        highest = functools.reduce(jnp.maximum, [one.highest for one in found])
        shares = [jnp.exp(one.highest - highest) for one in found]
        total = sum(one.total * share for one, share in zip(found, shares, strict=True))
        mixed = sum(one.mixed * share for one, share in zip(found, shares, strict=True))
    out = checkpoint_name(jnp.divide(mixed, total).astype(q_BxKxNxD.dtype), "attention")
    summed = checkpoint_name(highest + jnp.log(total), "attention")
    return out, (q_BxKxNxD, sources, out, summed)


def _backward(
    cap: float, length: int, kept: _Kept, wanted: jax.Array
) -> tuple[jax.Array, tuple[KeySource, ...]]:
    """Gradients of the queries and of each source's keys and values; all products in float32."""
    q, sources, out, summed = kept
    wanted = wanted.astype(jnp.float32)
    even = (wanted * out).sum(-1, keepdims=True)  # raising all scores of a query changes nothing

    def gradient(source: KeySource) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Of the queries by one source, of its keys and of its values."""
        queries, keys, values, scores = source.axes
        k, v = (x.astype(jnp.float32) for x in (source.keys, source.values))
        q_, wanted_, even_, summed_ = (source.lay(x) for x in (q, wanted, even, summed))
        score = _scores(cap, q_, source)
        weight = jnp.where(source.seen(length, q.shape[2]), jnp.exp(score - summed_), 0)
        of_v = jnp.einsum(f"{scores},{queries}->{values}", weight, wanted_)
        of_score = weight * (jnp.einsum(f"{queries},{values}->{scores}", wanted_, v) - even_)
        if cap:
            of_score = of_score * (1 - jnp.square(score / cap))
        of_k = jnp.einsum(f"{scores},{queries}->{keys}", of_score, q_.astype(jnp.float32))
        of_q = source.lay(jnp.einsum(f"{scores},{keys}->{queries}", of_score, k))
        return of_q, of_k.astype(source.keys.dtype), of_v.astype(source.values.dtype)

    of_q, found = jnp.zeros_like(q, jnp.float32), []
    for source in sources:
        part, of_k, of_v = _of_seen(gradient, source, _with_unseen)
        of_q = of_q + part
        of = dataclasses.replace(source, keys=of_k, values=of_v, mask=None, first=None)
        found.append(of)
    return of_q.astype(q.dtype), tuple(found)


_attention.defvjp(_forward, _backward)


def _of_seen(
    compute: Callable[[KeySource], T],
    source: KeySource,
    whole: Callable[[int, T], T] = lambda count, found: found,
) -> T:
    """What is computed of a source, without most of the keys that no query sees.

    `whole` makes of that what it is for so many keys.
    """
    if source.first is None:
        return compute(source)
    first, count = source.first, source.keys.shape[2]
    counts = [*(few for few in _FEW if few < count), count]

    def run(few: int) -> T:
        return whole(count, compute(source.last(few)))

    wanted = sum((few < count - first for few in counts[:-1]), jnp.int32(0))
    return jax.lax.switch(wanted, [functools.partial(run, few) for few in counts])


def _with_unseen(
    count: int, found: tuple[jax.Array, jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The gradients of all keys and values, zero for those before the ones that were seen."""
    of_q, of_k, of_v = found
    before = ((0, 0), (0, 0), (count - of_k.shape[2], 0), (0, 0))
    return of_q, jnp.pad(of_k, before), jnp.pad(of_v, before)


class _Attended(NamedTuple):
    """What one source says: [B, K, N, 1] (`mixed`: D in place of 1).

    Attributes:
        highest: score.
        total: of exp(score - highest).
        mixed: the values, weighted by these.
    """

    highest: jax.Array
    total: jax.Array
    mixed: jax.Array


def _attend(cap: float, length: int, q_BxKxNxD: jax.Array, source: KeySource) -> _Attended:
    """One source; what all rows share is fastest with the rows' queries as one matrix."""
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
    """Of queries that are laid out as the source's scores; before the mask."""
    queries, keys, _, axes = source.axes
    axes = f"{queries},{keys}->{axes}"
    scores = jnp.einsum(axes, q, source.keys, preferred_element_type=jnp.float32)
    return capped(scores, cap) if cap else scores
