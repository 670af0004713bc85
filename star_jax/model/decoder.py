"""The decoder: embedding, blocks, head. NNX modules, used through `nnx.split` as pure functions.

The residual is parallel and the rotary embedding partial and interleaved, as in GPT-J. How keys
meet queries is not decided here: each call brings an `attend` function, so that training (packed
segments) and sampling (a cache, `model/cache.py`) run the same weights through the same lines.

Shapes: B rows, T tokens, E width, H heads, D head_dim, F hidden, V vocab.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from star_jax.model.config import ModelConfig

# (layer, q_BxHxTxD, k_BxHxTxD, v_BxHxTxD) -> out_BxHxTxD
Attend = Callable[[int, jax.Array, jax.Array, jax.Array], jax.Array]


def _weight(
    rngs: nnx.Rngs, shape: tuple[int, ...], axes: tuple[str, ...], fan_in: int
) -> nnx.Param:
    """Normal with variance 1 / fan_in: unlike a fixed 0.02 it trains at any width."""
    return nnx.Param(jax.random.normal(rngs.params(), shape) * fan_in**-0.5, axes=axes)


def _constant(value: float, shape: tuple[int, ...], axes: tuple[str, ...]) -> nnx.Param:
    return nnx.Param(jnp.full(shape, value), axes=axes)


def branches(config: ModelConfig) -> int:
    """How many outputs are added into the residual stream; each starts smaller by its root."""
    return 2 * config.layers


class Norm(nnx.Module):
    """Layer normalisation with scale and bias, computed in float32."""

    def __init__(self, config: ModelConfig) -> None:
        self.epsilon = config.norm_epsilon
        self.scale = _constant(1.0, (config.width,), ("embed",))
        self.bias = _constant(0.0, (config.width,), ("embed",))

    def __call__(self, x_BxTxE: jax.Array) -> jax.Array:
        """Each token's vector with mean 0 and variance 1, scaled and shifted: [B, T, E]."""
        x = x_BxTxE.astype(jnp.float32)
        x = x - x.mean(-1, keepdims=True)
        x = x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + self.epsilon)
        return (x * self.scale[...] + self.bias[...]).astype(x_BxTxE.dtype)


class Attention(nnx.Module):
    """Multi-head attention without biases; the first `rotary` dimensions of a head are rotated."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs) -> None:
        self.config = config
        inward = (config.width, config.heads, config.head_dim)
        self.q = _weight(rngs, inward, ("embed", "heads", "head_dim"), config.width)
        self.k = _weight(rngs, inward, ("embed", "heads", "head_dim"), config.width)
        self.v = _weight(rngs, inward, ("embed", "heads", "head_dim"), config.width)
        outward = (config.heads, config.head_dim, config.width)
        fan_in = config.width * branches(config)
        self.out = _weight(rngs, outward, ("heads", "head_dim", "embed"), fan_in)

    def __call__(self, x: jax.Array, positions: jax.Array, layer: int, attend: Attend) -> jax.Array:
        """The heads' outputs, summed: [B, T, E] to [B, T, E]; `positions` is [B, T]."""
        q, k, v = (
            jnp.einsum("bte,ehd->bhtd", x, w[...].astype(x.dtype)) for w in (self.q, self.k, self.v)
        )
        q, k = (rotate(y, positions, self.config) for y in (q, k))
        out = attend(layer, q, k, v)
        return jnp.einsum("bhtd,hde->bte", out, self.out[...].astype(x.dtype))


class Mlp(nnx.Module):
    """Two matrices with biases around a GELU (tanh form)."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs) -> None:
        self.up = _weight(rngs, (config.width, config.hidden), ("embed", "hidden"), config.width)
        self.up_bias = _constant(0.0, (config.hidden,), ("hidden",))
        fan_in = config.hidden * branches(config)
        self.down = _weight(rngs, (config.hidden, config.width), ("hidden", "embed"), fan_in)
        self.down_bias = _constant(0.0, (config.width,), ("embed",))

    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, T, E] to [B, T, E], each token by itself."""
        h = x @ self.up[...].astype(x.dtype) + self.up_bias[...].astype(x.dtype)
        h = jax.nn.gelu(h, approximate=True)
        return h @ self.down[...].astype(x.dtype) + self.down_bias[...].astype(x.dtype)


class Block(nnx.Module):
    """x + attention(norm(x)) + mlp(norm(x)): one normalisation, both branches read it."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs) -> None:
        self.norm = Norm(config)
        self.attention = Attention(config, rngs)
        self.mlp = Mlp(config, rngs)

    def __call__(self, x: jax.Array, positions: jax.Array, layer: int, attend: Attend) -> jax.Array:
        """The residual stream [B, T, E] after this block; `positions` is [B, T]."""
        h = self.norm(x)
        return x + self.attention(h, positions, layer, attend) + self.mlp(h)


class Decoder(nnx.Module):
    """Token ids to logits; the head is untied and has a bias."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs) -> None:
        self.config = config
        self.embedding = _weight(rngs, (config.vocab, config.width), ("vocab", "embed"), fan_in=1)
        self.blocks = nnx.List([Block(config, rngs) for _ in range(config.layers)])
        self.norm = Norm(config)
        self.head = _weight(rngs, (config.width, config.vocab), ("embed", "vocab"), config.width)
        self.head_bias = _constant(0.0, (config.vocab,), ("vocab",))

    def hidden(self, tokens_BxT: jax.Array, positions_BxT: jax.Array, attend: Attend) -> jax.Array:
        """Ids and their positions to the normalised residual stream, [B, T, E]."""
        x = self.embedding[...].astype(self.config.dtype)[tokens_BxT]
        for layer, block in enumerate(self.blocks):
            x = block(x, positions_BxT, layer, attend)
        return self.norm(x)

    def logits(self, x_BxTxE: jax.Array) -> jax.Array:
        """The residual stream to float32 logits, [B, T, V]."""
        logits = x_BxTxE @ self.head[...].astype(x_BxTxE.dtype)
        return logits.astype(jnp.float32) + self.head_bias[...]


def rotate(x_BxHxTxD: jax.Array, positions_BxT: jax.Array, config: ModelConfig) -> jax.Array:
    """Rotary position embedding (Su et al., 2021, eq. 34) of the first `rotary` dimensions.

    Pairs are (2i, 2i+1). Positions are int32 [B, T]; shape and type of the result are those of x.
    """
    half = config.rotary // 2
    frequencies = config.rotary_base ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angles = positions_BxT[:, None, :, None].astype(jnp.float32) * frequencies
    sin, cos = jnp.sin(angles), jnp.cos(angles)
    turned, kept = x_BxHxTxD[..., : config.rotary], x_BxHxTxD[..., config.rotary :]
    even, odd = (turned[..., i::2].astype(jnp.float32) for i in (0, 1))
    turned = jnp.stack((even * cos - odd * sin, odd * cos + even * sin), axis=-1)
    turned = turned.reshape(*turned.shape[:-2], config.rotary).astype(x_BxHxTxD.dtype)
    return jnp.concatenate((turned, kept), axis=-1)


def attention(
    q_BxHxTxD: jax.Array,
    sources: list[tuple[jax.Array, jax.Array, jax.Array]],
) -> jax.Array:
    """Softmax attention of the queries over several sources of keys at once, [B, H, T, D].

    A source is (keys, values, mask): keys and values [B, H, S, D], or [H, S, D] when all rows share
    them (then the product is one dense matrix product); the mask broadcasts to [B, H, T, S] and is
    True where a key may be seen. The softmax runs over the keys of all sources together, in
    float32.
    """
    q = q_BxHxTxD * q_BxHxTxD.shape[-1] ** -0.5
    scores = []
    for k, _, mask in sources:
        score = jnp.einsum(f"bhtd,{_axes(k)}->bhts", q, k, preferred_element_type=jnp.float32)
        scores.append(jnp.where(mask, score, -1e30))
    highest = functools.reduce(jnp.maximum, [score.max(-1, keepdims=True) for score in scores])
    highest = jax.lax.stop_gradient(highest)  # it cancels, so no gradient need flow through it
    weights = [jnp.exp(score - highest) for score in scores]
    total = sum(weight.sum(-1, keepdims=True) for weight in weights)
    mixed = sum(
        jnp.einsum(f"bhts,{_axes(v)}->bhtd", weight.astype(v.dtype), v)
        for weight, (_, v, _) in zip(weights, sources, strict=True)
    )
    return jnp.divide(mixed, total).astype(q.dtype)


def _axes(keys: jax.Array) -> str:
    return "hsd" if keys.ndim == 3 else "bhsd"


def attend_segments(segments_BxT: jax.Array) -> Attend:
    """Causal attention inside each packed segment; tokens of different segments never meet."""
    length = segments_BxT.shape[1]
    causal = jnp.tril(jnp.ones((length, length), bool))
    mask = causal & (segments_BxT[:, None, :, None] == segments_BxT[:, None, None, :])

    def attend(layer: int, q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        del layer
        return attention(q, [(k, v, mask)])

    return attend
