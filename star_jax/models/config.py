"""The shape of a decoder: one set of fields that every family is a choice of."""

import dataclasses
from typing import Literal

from jax.sharding import Mesh

from star_jax.runtime import sharding


@dataclasses.dataclass(frozen=True)
class RopeScaling:
    """How rotary frequencies are changed for contexts longer than those pretrained on.

    Attributes:
        kind: "linear" divides all frequencies by `factor`; "llama3" divides the low ones and blends
            those between (Llama 3.1).
        factor: by which the context grows.
        low, high: llama3: wavelengths above `original / low` are divided, below `original / high`
            they are kept.
        original: llama3: the context pretrained on.
    """

    kind: Literal["linear", "llama3"]
    factor: float
    low: float = 1.0
    high: float = 4.0
    original: int = 8192


@dataclasses.dataclass(frozen=True)
class ComputeConfig:
    """How a decoder is computed; it is the same decoder whatever this says.

    Attributes:
        dtype: numeric type of the computation, "float32" or "bfloat16".
        param_dtype: numeric type that the weights are kept in, "float32" or "bfloat16".
        on_cpu: devices are CPUs, each with all heads: uses what XLA is fast at there
            (`models/matmul.py`, `models/rope.py`).
    """

    dtype: str = "float32"
    param_dtype: str = "float32"
    on_cpu: bool = False


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """What a decoder is built from; the defaults are the GPT-J family (Wang, 2021).

    Attributes:
        layers: number of blocks.
        width: size of the residual stream (d_model).
        heads: attention heads.
        head_dim: size of one head.
        hidden: size of the feed-forward layer (d_ff).
        rotary: leading dimensions of a head that are rotated; even; 0 for none.
        vocab: rows of the embedding.
        context: longest sequence in tokens.
        vocab_padding: how many of the last rows of the embedding are no token (they make it split
            over a mesh); their logits are never the largest.
        compute: numeric types and devices.
        kv_heads: heads of keys and values, each shared by heads / kv_heads queries; 0 = `heads`.
        parallel: attention and MLP read the same residual and are added to it together; otherwise
            one after the other.
        shared_norm: with `parallel`, one normalisation for both branches.
        post_norms: each branch's output is normalised too before it is added (Gemma).
        norm: "layer" (mean and variance, scale and bias) or "rms" (root mean square, scale).
        norm_epsilon: added to the variance, or to the mean square.
        norm_offset: added to every scale, 1 where weights are kept as differences from it (Gemma).
        activation: of the MLP; "gelu_tanh" is GELU's tanh form.
        gated: the MLP multiplies by a second projection (Shazeer, 2020).
        qkv_bias, out_bias, mlp_bias, head_bias: which projections have biases.
        tied: the head is the embedding.
        qk_norm: queries and keys of each head are RMS-normalised before the rotation.
        rotary_pairs: "adjacent" rotates dimensions (2i, 2i + 1) together, as GPT-J; "halves"
            rotates (i, i + rotary / 2), as GPT-NeoX and Llama.
        rotary_base: wavelength base of the rotary embedding.
        rotary_local_base: that of layers with a window; 0 = `rotary_base`, scaling included.
        rope_scaling: of the layers without a window (of all, if `rotary_local_base` is 0).
        learned_positions: an embedding of positions is added to that of tokens (GPT-2).
        scale: of query-key products; 0 = head_dim^-0.5.
        attention_cap, logit_cap: soft caps, cap x tanh(x / cap), of scores and logits; 0 = none.
        windows: for each layer how many tokens back, itself included, a token sees; 0 = all.
            Empty: all, in every layer.
        embedding_scale: factor on the embedding, rounded to `compute.dtype` first, as Gemma does.
    """

    layers: int
    width: int
    heads: int
    head_dim: int
    hidden: int
    rotary: int
    vocab: int
    context: int
    vocab_padding: int = 0
    compute: ComputeConfig = ComputeConfig()
    kv_heads: int = 0
    parallel: bool = True
    shared_norm: bool = True
    post_norms: bool = False
    norm: Literal["layer", "rms"] = "layer"
    norm_epsilon: float = 1e-5
    norm_offset: float = 0.0
    activation: Literal["gelu", "gelu_tanh", "silu", "relu"] = "gelu_tanh"
    gated: bool = False
    qkv_bias: bool = False
    out_bias: bool = False
    mlp_bias: bool = True
    head_bias: bool = True
    tied: bool = False
    qk_norm: bool = False
    rotary_pairs: Literal["adjacent", "halves"] = "adjacent"
    rotary_base: float = 10_000.0
    rotary_local_base: float = 0.0
    rope_scaling: RopeScaling | None = None
    learned_positions: bool = False
    scale: float = 0.0
    attention_cap: float = 0.0
    logit_cap: float = 0.0
    windows: tuple[int, ...] = ()
    embedding_scale: float = 1.0

    def __post_init__(self) -> None:
        rules = {
            "heads must be a multiple of kv_heads": self.heads % self.key_heads == 0,
            "windows: one per layer": not self.windows or len(self.windows) == self.layers,
            "shared_norm goes with parallel": not self.shared_norm or self.parallel,
            "rotary: even, at most head_dim": self.rotary % 2 == 0 <= self.head_dim - self.rotary,
        }
        if broken := [rule for rule, holds in rules.items() if not holds]:
            raise ValueError(f"{self}: {'; '.join(broken)}")

    @property
    def key_heads(self) -> int:
        """Heads of keys and values."""
        return self.kv_heads or self.heads

    @property
    def period(self) -> int:
        """After how many layers their windows repeat; it divides the number of layers."""
        return next(
            period
            for period in range(1, self.layers + 1)
            if self.layers % period == 0
            and all(self.window(i) == self.window(i % period) for i in range(self.layers))
        )

    def window(self, layer: int) -> int:
        """How many tokens back a token sees in this layer, itself included; 0 = all."""
        return self.windows[layer] if self.windows else 0


def for_mesh(
    config: ModelConfig, mesh: Mesh, *, dtype: str = "float32", param_dtype: str = "float32"
) -> ModelConfig:
    """Returns `config` with these types, as the devices of a mesh compute it best.

    The vocabulary is padded so that it splits over the mesh.

    Args:
        config: of the model.
        mesh: of devices, or abstract.
        dtype: of the computation, "float32" or "bfloat16".
        param_dtype: type that the weights are kept in, "float32" or "bfloat16".

    Raises:
        ValueError: for another type than "float32" and "bfloat16".
    """
    for name in (dtype, param_dtype):
        if name not in ("float32", "bfloat16"):
            raise ValueError(f"{name!r}: a type must be 'float32' or 'bfloat16'")
    # As many parts as "vocab" is split into, asked of the one table that says so.
    parts = mesh.size // sharding.sharding(mesh, "vocab").shard_shape((mesh.size,))[0]
    tokens = config.vocab - config.vocab_padding
    vocab = config.vocab if config.vocab % parts == 0 else tokens + -tokens % parts
    # Split over "tensor", XLA for CPUs gives queries, keys and values that are one product wrong
    # gradients, where keys are not split as queries are.
    on_cpu = sharding.of_cpus(mesh) and mesh.shape["tensor"] == 1
    compute = ComputeConfig(dtype, param_dtype, on_cpu)
    return dataclasses.replace(config, vocab=vocab, vocab_padding=vocab - tokens, compute=compute)
