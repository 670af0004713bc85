"""The shape of a decoder."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """What a decoder is built from; names follow the GPT-J family (Wang, 2021).

    Attributes:
        layers: number of blocks.
        width: size of the residual stream (d_model).
        heads: attention heads; `heads * head_dim == width`.
        head_dim: size of one head.
        hidden: size of the feed-forward layer (d_ff).
        rotary: leading dimensions of a head that are rotated; even.
        vocab: rows of the embedding, padded so that it splits over a mesh.
        context: longest sequence in tokens.
        dtype: of the computation, "float32" or "bfloat16"; weights are always float32.
        norm_epsilon: added to the variance in layer normalisation.
        rotary_base: wavelength base of the rotary embedding.
    """

    layers: int
    width: int
    heads: int
    head_dim: int
    hidden: int
    rotary: int
    vocab: int
    context: int
    dtype: str = "float32"
    norm_epsilon: float = 1e-5
    rotary_base: float = 10_000.0
