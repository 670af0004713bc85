"""The architecture of a decoder, in fields that describe every family, and how it is computed."""

import dataclasses
from typing import Literal

from jax.sharding import Mesh

from star_jax.runtime import sharding


@dataclasses.dataclass(frozen=True)
class RopeScaling:
    """Scaling of the rotary frequencies for contexts longer than those of pretraining.

    Attributes:
        kind: method; "linear" divides all frequencies by `factor`; "llama3" divides the low ones
            and blends those between (Llama 3.1).
        factor: factor by which the context grows.
        low, high: bounds of llama3: frequencies with wavelengths above `original / low` are
            divided, those with wavelengths below `original / high` are unchanged.
        original: context of pretraining in tokens, for llama3.
    """

    kind: Literal["linear", "llama3"]
    factor: float
    low: float = 1.0
    high: float = 4.0
    original: int = 8192


@dataclasses.dataclass(frozen=True)
class ComputeConfig:
    """Numeric types and devices; they change how a decoder is computed, not which decoder it is.

    Attributes:
        dtype: numeric type of the computation, "float32" or "bfloat16".
        param_dtype: numeric type of the stored weights, "float32" or "bfloat16".
        on_cpu: True if the devices are CPUs and each has all heads: operations are then chosen
            that XLA for CPUs is fast at (`models/matmul.py`, `models/rope.py`).
    """

    dtype: str = "float32"
    param_dtype: str = "float32"
    on_cpu: bool = False


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The architecture of a decoder; the defaults are those of the GPT-J family (Wang, 2021).

    Attributes:
        layers: number of blocks.
        width: size of the residual stream (d_model).
        heads: number of attention heads.
        head_dim: size of one head.
        hidden: size of the feed-forward layer (d_ff).
        rotary: number of leading dimensions of a head that are rotated; even; 0 for none.
        vocab: number of rows of the embedding.
        context: longest sequence in tokens.
        vocab_padding: number of last rows of the embedding that belong to no token; with them the
            embedding splits evenly over a mesh. Their logits are never the largest.
        compute: numeric types and devices.
        kv_heads: number of heads of keys and values, each shared by heads / kv_heads queries;
            0 = `heads`.
        parallel: True if attention and MLP read the same residual and are added to it together;
            otherwise they run one after the other.
        shared_norm: True if both branches share one normalisation; only with `parallel`.
        post_norms: True if each branch's output is normalised before it is added (Gemma).
        norm: kind of normalisation: "layer" (mean and variance, scale and bias) or "rms" (root
            mean square, scale).
        norm_epsilon: number added to the variance, or to the mean square.
        norm_offset: number added to every scale: 1 where scales are stored minus 1 (Gemma).
        activation: activation of the MLP; "gelu_tanh" is the tanh approximation of GELU.
        gated: True if the MLP multiplies by a second projection (Shazeer, 2020).
        qkv_bias, out_bias, mlp_bias, head_bias: True if these projections have biases.
        tied: True if the head is the embedding.
        qk_norm: True if queries and keys are RMS-normalised in each head before the rotation.
        rotary_pairs: pairs of dimensions that are rotated together; "adjacent" pairs (2i, 2i + 1),
            as GPT-J; "halves" pairs (i, i + rotary / 2), as GPT-NeoX and Llama.
        rotary_base: wavelength base of the rotary embedding.
        rotary_local_base: wavelength base of layers with a window; 0: `rotary_base` and
            `rope_scaling` apply to them too.
        rope_scaling: scaling in layers without a window (in all, if `rotary_local_base` is 0).
        learned_positions: True if an embedding of positions is added to that of tokens (GPT-2).
        scale: factor on query-key products; 0 = head_dim^-0.5.
        attention_cap, logit_cap: soft caps, cap x tanh(x / cap), of scores and logits; 0 = none.
        windows: window of each layer: number of tokens back, itself included, that a token sees;
            0 = all. Empty: all, in every layer.
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
        """Number of heads of keys and values."""
        return self.kv_heads or self.heads

    @property
    def tokens(self) -> int:
        """Number of rows of the embedding that are a token."""
        return self.vocab - self.vocab_padding

    @property
    def period(self) -> int:
        """Number of layers after which the windows repeat; it divides the number of layers."""
        return next(
            period
            for period in range(1, self.layers + 1)
            if self.layers % period == 0
            and all(self.window(i) == self.window(i % period) for i in range(self.layers))
        )

    def window(self, layer: int) -> int:
        """Returns how many tokens back a token sees in this layer, itself included; 0 = all."""
        return self.windows[layer] if self.windows else 0


def for_mesh(
    config: ModelConfig, mesh: Mesh, *, dtype: str = "float32", param_dtype: str = "float32"
) -> ModelConfig:
    """Returns `config` with these types and what suits the devices of a mesh.

    The vocabulary is padded so that it splits evenly over the mesh.

    Args:
        config: configuration of the model.
        mesh: devices, real or abstract.
        dtype: numeric type of the computation, "float32" or "bfloat16".
        param_dtype: numeric type of the stored weights, "float32" or "bfloat16".

    Raises:
        ValueError: a type is neither "float32" nor "bfloat16".
    """
    for name in (dtype, param_dtype):
        if name not in ("float32", "bfloat16"):
            raise ValueError(f"{name!r}: a type must be 'float32' or 'bfloat16'")
    # The table of `runtime/sharding.py` says into how many parts "vocab" is split.
    parts = mesh.size // sharding.sharding(mesh, "vocab").shard_shape((mesh.size,))[0]
    tokens = config.tokens
    vocab = config.vocab if config.vocab % parts == 0 else tokens + -tokens % parts
    # XLA for CPUs computes wrong gradients of queries, keys and values that are one product split
    # over "tensor", where keys are not split as queries are.
    on_cpu = sharding.of_cpus(mesh) and mesh.shape["tensor"] == 1
    compute = ComputeConfig(dtype, param_dtype, on_cpu)
    return dataclasses.replace(config, vocab=vocab, vocab_padding=vocab - tokens, compute=compute)
