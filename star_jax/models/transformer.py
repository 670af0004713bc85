"""The decoder: embedding, blocks and head, as NNX modules, used as pure functions by `nnx.split`.

There is one decoder for all families (`models/config.py`); the defaults describe GPT-J. Each call
passes a function for attention, `attend`, so that training (packed segments) and sampling (a KV
cache, `models/kv_cache.py`) run the same code with the same weights.

Shapes: B rows, T tokens, E width, H heads, K heads of keys and values, G = H / K queries that share
one, D head_dim, F hidden, V vocab.
"""

import copy
import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

from star_jax.models import stacking
from star_jax.models.attention import Attend, Layer
from star_jax.models.config import ModelConfig
from star_jax.models.head import Head, logits
from star_jax.models.matmul import embed, matmul, matmuls
from star_jax.models.rope import SinCos, rotate, sin_cos
from star_jax.models.stacking import Carry, Index, Stacked

_ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "gelu": functools.partial(jax.nn.gelu, approximate=False),
    "gelu_tanh": functools.partial(jax.nn.gelu, approximate=True),
    "silu": jax.nn.silu,
    "relu": jax.nn.relu,
}


class _Weights:
    """Creates the parameters of one decoder, in the numeric type of its stored weights."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs) -> None:
        self.config, self._key, self._count = config, rngs.params.key[...], 0

    def normal(self, shape: tuple[int, ...], axes: tuple[str, ...], fan_in: int) -> nnx.Param:
        """Draws normal values of variance 1 / fan_in, which trains at any width, unlike 0.02."""
        # These are the keys of nnx.Rngs, whose own counter, a variable, is slow to trace.
        key = jax.random.fold_in(self._key, self._count)
        self._count += 1
        values = jax.random.normal(key, shape) * fan_in**-0.5
        return nnx.Param(values.astype(self.config.compute.param_dtype), axes=axes)

    def constant(self, value: float, shape: tuple[int, ...], axes: tuple[str, ...]) -> nnx.Param:
        """Fills a parameter with one value."""
        return nnx.Param(jnp.full(shape, value, self.config.compute.param_dtype), axes=axes)

    def bias(self, wanted: bool, shape: tuple[int, ...], axes: tuple[str, ...]) -> nnx.Param | None:
        """Returns a bias of zeros, or None where the family has none."""
        return self.constant(0.0, shape, axes) if wanted else None

    def norm(self, size: int, axis: str, kind: str) -> "Norm":
        """Returns a normalisation over `size` features."""
        return Norm(self, size, axis, kind)


def branches(config: ModelConfig) -> int:
    """Returns how many outputs the residual stream sums; their first weights shrink by its root."""
    return 2 * config.layers


class Norm(nnx.Module):
    """Layer normalisation with scale and bias, or RMS normalisation with a scale; in float32."""

    def __init__(self, make: _Weights, size: int, axis: str, kind: str) -> None:
        self.epsilon, self.offset = make.config.norm_epsilon, make.config.norm_offset
        self.centred = kind == "layer"
        self.scale = make.constant(1.0 - self.offset, (size,), (axis,))
        self.bias = make.bias(self.centred, (size,), (axis,))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalises vectors to mean square 1 (and mean 0), scales (and shifts) them; type of x."""
        y = x.astype(jnp.float32)
        if self.centred:
            y = y - y.mean(-1, keepdims=True)
        y = y * jax.lax.rsqrt(jnp.square(y).mean(-1, keepdims=True) + self.epsilon)
        y = y * (self.scale[...].astype(jnp.float32) + self.offset)
        if self.bias is not None:
            y = y + self.bias[...].astype(jnp.float32)
        return y.astype(x.dtype)


def _product(x: jax.Array, weight: jax.Array, config: ModelConfig) -> jax.Array:
    """Returns a product in the type of x; gradient checkpointing stores it before the cast."""
    product = checkpoint_name(matmul(x, weight, wide=config.compute.on_cpu), "product")
    return product.astype(x.dtype)


def _keep(x: jax.Array, config: ModelConfig) -> jax.Array:
    """Returns `x`, which is stored for the gradient instead of the product it is computed from.

    On a CPU it is stored in float32: 16-bit floats are slow to write into the stack of all layers.
    """
    wide = x.astype(jnp.float32) if config.compute.on_cpu else x
    return checkpoint_name(wide, "product").astype(x.dtype)


def _add(x: jax.Array, bias: nnx.Param | None) -> jax.Array:
    """Adds the bias, if there is one."""
    return x if bias is None else x + bias[...].astype(x.dtype)


class Attention(nnx.Module):
    """Multi-head attention; keys and values may have fewer heads than queries."""

    def __init__(self, make: _Weights) -> None:
        config = self.config = make.config

        def inward(heads: int, axis: str) -> nnx.Param:
            shape = (config.width, heads, config.head_dim)
            return make.normal(shape, ("embed", axis, "head_dim"), config.width)

        def bias(heads: int, axis: str) -> nnx.Param | None:
            return make.bias(config.qkv_bias, (heads, config.head_dim), (axis, "head_dim"))

        self.q = inward(config.heads, "heads")
        self.k = inward(config.key_heads, "kv_heads")
        self.v = inward(config.key_heads, "kv_heads")
        self.q_bias = bias(config.heads, "heads")
        self.k_bias = bias(config.key_heads, "kv_heads")
        self.v_bias = bias(config.key_heads, "kv_heads")
        normed = config.qk_norm
        self.q_norm = make.norm(config.head_dim, "head_dim", "rms") if normed else None
        self.k_norm = make.norm(config.head_dim, "head_dim", "rms") if normed else None
        outward = (config.heads, config.head_dim, config.width)
        fan_in = config.heads * config.head_dim * branches(config)
        self.out = make.normal(outward, ("heads", "head_dim", "embed"), fan_in)
        self.out_bias = make.bias(config.out_bias, (config.width,), ("embed",))

    def __call__(
        self, x: jax.Array, turned: SinCos | None, layer: Layer, attend: Attend, kept: Carry
    ) -> tuple[jax.Array, Carry]:
        """Returns the summed outputs of the heads, [B, T, E]; `turned` comes from `sin_cos`."""
        # With this order of axes, and `out` as a matrix, a CPU need not transpose the weights.
        weights = [weight[...] for weight in (self.q, self.k, self.v)]
        q, k, v = matmuls(x, weights, wide=self.config.compute.on_cpu)
        q = self._heads(q, self.q_bias, self.q_norm, turned)
        k = self._heads(k, self.k_bias, self.k_norm, turned)
        v = self._heads(v, self.v_bias, None, None)
        out, kept = attend(layer, q, k, v, kept)
        heads = out.swapaxes(1, 2).reshape(*x.shape[:2], -1)
        out = _product(heads, self.out[...].reshape(heads.shape[-1], -1), self.config)
        return _add(out, self.out_bias), kept

    def _heads(
        self,
        x: jax.Array,
        bias: nnx.Param | None,
        norm: Norm | None,
        turned: SinCos | None,
    ) -> jax.Array:
        y = x.swapaxes(1, 2)
        if bias is not None:
            y = y + bias[...].astype(x.dtype)[:, None]
        if norm is None:
            return _keep(rotate(y, turned, self.config), self.config)
        # The gradient of a normalisation needs its input.
        return rotate(norm(_keep(y, self.config)), turned, self.config)


class Mlp(nnx.Module):
    """Two matrices around an activation, or three with a gate."""

    def __init__(self, make: _Weights) -> None:
        config = self.config = make.config
        inward, axes = (config.width, config.hidden), ("embed", "hidden")
        self.up = make.normal(inward, axes, config.width)
        self.gate = make.normal(inward, axes, config.width) if config.gated else None
        fan_in = config.hidden * branches(config)
        self.down = make.normal((config.hidden, config.width), ("hidden", "embed"), fan_in)
        self.up_bias = make.bias(config.mlp_bias, (config.hidden,), ("hidden",))
        self.gate_bias = make.bias(config.mlp_bias and config.gated, (config.hidden,), ("hidden",))
        self.down_bias = make.bias(config.mlp_bias, (config.width,), ("embed",))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps each token [B, T, E] separately to an output [B, T, E]."""
        # With two axes of tokens a CPU would transpose.
        shape, x = x.shape, x.reshape(-1, x.shape[-1])
        h = _add(_product(x, self.up[...], self.config), self.up_bias)
        if self.gate is None:
            h = self._activate(h)
        else:
            h = h * self._activate(_add(_product(x, self.gate[...], self.config), self.gate_bias))
        return _add(_product(h, self.down[...], self.config), self.down_bias).reshape(shape)

    def _activate(self, x: jax.Array) -> jax.Array:
        """Applies the activation in float32: a CPU is slow at exponentials of 16-bit floats."""
        return _ACTIVATIONS[self.config.activation](x.astype(jnp.float32)).astype(x.dtype)


class Block(nnx.Module):
    """Attention and MLP on the residual stream, in parallel or one after the other."""

    def __init__(self, make: _Weights) -> None:
        config = make.config
        self.parallel = config.parallel

        def norm(wanted: bool = True) -> Norm | None:
            return make.norm(config.width, "embed", config.norm) if wanted else None

        self.norm = make.norm(config.width, "embed", config.norm)
        self.attention = Attention(make)
        self.post_norm = norm(config.post_norms)
        self.mlp_norm = norm(not config.shared_norm)
        self.mlp = Mlp(make)
        self.mlp_post_norm = norm(config.post_norms)

    def __call__(
        self,
        x: jax.Array,
        turned: SinCos | None,
        layer: Layer,
        attend: Attend,
        kept: Carry,
        layout: "Layout",
    ) -> tuple[jax.Array, Carry]:
        """Returns the residual stream [B, T, E] after this block."""
        h = layout.within(self.norm(x))
        mixed, kept = self.attention(h, turned, layer, attend, kept)
        mixed = mixed if self.post_norm is None else self.post_norm(mixed)
        middle = x if self.parallel else x + mixed
        h = h if self.mlp_norm is None else layout.within(self.mlp_norm(middle))
        out = self.mlp(h)
        out = out if self.mlp_post_norm is None else self.mlp_post_norm(out)
        return layout.between(x + mixed + out), kept


@dataclasses.dataclass(frozen=True)
class Layout:
    """Sharding of activations [B, T, E].

    Attributes:
        between: function that shards the residual stream between blocks.
        within: function that shards the inputs of attention and MLP.
    """

    between: Callable[[jax.Array], jax.Array] = lambda x: x
    within: Callable[[jax.Array], jax.Array] = lambda x: x


ANY_LAYOUT = Layout()


# Activations of a block that are stored for the gradient beside its input: everything; products
# with weights and outputs of attention (the rest is cheap to compute again); or nothing.
Keep = Literal["everything", "products", "inputs"]
_PRODUCTS = jax.checkpoint_policies.save_only_these_names("product", "attention")


class Decoder(nnx.Module):
    """Token ids to logits."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs) -> None:
        self.config, make = config, _Weights(config, rngs)
        shape = (config.vocab, config.width)
        fan_in = config.width if config.tied else 1
        self.embedding = make.normal(shape, ("vocab", "embed"), fan_in)
        self.positions = (
            make.normal((config.context, config.width), ("length", "embed"), fan_in)
            if config.learned_positions
            else None
        )
        self.blocks = stacking.stack([Block(make) for _ in range(config.layers)])
        self.norm = make.norm(config.width, "embed", config.norm)
        self.head = (
            None if config.tied else make.normal(shape[::-1], ("embed", "vocab"), config.width)
        )
        self.head_bias = make.bias(config.head_bias, (config.vocab,), ("vocab",))

    def hidden(
        self,
        tokens_BxT: jax.Array,
        positions_BxT: jax.Array,
        attend: Attend,
        kept: Carry = (),
        *,
        given: tuple[Stacked, ...] = (),
        keep: "Keep" = "everything",
        layout: Layout = ANY_LAYOUT,
    ) -> tuple[jax.Array, Carry]:
        """Returns the normalised residual stream [B, T, E] of tokens, and `kept` after all layers.

        Args:
            tokens_BxT: int32 token ids.
            positions_BxT: int32 positions of the tokens.
            attend: function that computes attention in each layer.
            kept: stacks (`models/stacking.py`) that `attend` reads and writes, such as a KV cache.
            given: stacks that `attend` reads; it finds its layer's part in `Layer.given`.
            keep: activations of each block that are stored for the gradient.
            layout: sharding of the activations.
        """
        config, dtype = self.config, jnp.dtype(self.config.compute.dtype)
        x = embed(self.embedding[...], tokens_BxT, dtype, on_cpu=config.compute.on_cpu)
        if config.embedding_scale != 1:
            x = x * jnp.asarray(config.embedding_scale, dtype)
        if self.positions is not None:
            x = x + embed(self.positions[...], positions_BxT, dtype, on_cpu=config.compute.on_cpu)
        scale = config.scale or config.head_dim**-0.5
        turned = [sin_cos(positions_BxT, config, local) for local in (False, True)]

        def each(
            block: Block, index: Index, offset: int, own: Any, x: jax.Array, kept: Carry
        ) -> tuple[jax.Array, Carry]:
            window = config.window(offset)
            cap = config.attention_cap
            layer = Layer(index=index, window=window, scale=scale, cap=cap, given=tuple(own))
            return block(x, turned[bool(window)], layer, attend, kept, layout)

        remat: stacking.Remat = stacking.as_it_is
        if keep != "everything":
            # Inside a loop XLA cannot merge the second computation with the first.
            no_loop = self.is_unstacked or config.period == config.layers
            policy = _PRODUCTS if keep == "products" else None
            remat = functools.partial(jax.checkpoint, prevent_cse=no_loop, policy=policy)
        x = layout.between(x)
        x, kept = stacking.run(self.blocks, config.period, each, given, x, kept, remat)
        return self.norm(x), kept

    @property
    def is_unstacked(self) -> bool:
        """True if the blocks are a list instead of one stack."""
        return isinstance(self.blocks, nnx.List)

    def unstacked(self) -> "Decoder":
        """Returns the same decoder with a list of blocks, which run one after the other."""
        decoder = copy.copy(self)
        decoder.blocks = stacking.blocks(self.blocks)
        return decoder

    @property
    def last(self) -> Head:
        """The weights of the head."""
        matrix = self.embedding if self.head is None else self.head
        return Head(matrix[...], None if self.head_bias is None else self.head_bias[...])

    def logits(self, x_BxTxE: jax.Array) -> jax.Array:
        """Returns float32 logits [B, T, V] of the residual stream; see `head.logits`."""
        return logits(self.config, self.last, x_BxTxE)
