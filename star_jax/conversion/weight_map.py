"""Maps our weights to tensors of files, for reading and for writing.

An entry is a line such as "attn.c_attn E kKD": the module in the file, then one word for each axis
of the module's weight. A word of several letters is an axis that is reshaped to these axes; one of
the letters q, k and v is an axis over the three parts of a fused tensor, of which that part is
meant. A bias has the word of the module's output axis.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from star_jax.models.config import ModelConfig

# Axes of our weights: E width, H heads, K key heads, D head_dim, F hidden, V vocabulary, C context.
OUTSIDE = {"embedding": "VE", "positions": "CE", "norm": "E", "head": "EV"}
INSIDE = {
    "norm": "E",
    "mlp_norm": "E",
    "post_norm": "E",
    "mlp_post_norm": "E",
    "attention.q": "EHD",
    "attention.k": "EKD",
    "attention.v": "EKD",
    "attention.out": "HDE",
    "attention.q_norm": "D",
    "attention.k_norm": "D",
    "mlp.up": "EF",
    "mlp.gate": "EF",
    "mlp.down": "FE",
}
# Axes of a weight -> axes of its bias, unless they are the same.
BIASES = {"EV": "V", "EHD": "HD", "EKD": "KD", "HDE": "E", "EF": "F", "FE": "E"}
_PARTS = "qkv"

Range = tuple[int, int]  # start, stop


def lengths(config: ModelConfig) -> dict[str, int]:
    """Returns letter -> length of the axis in a file, where the vocabulary is not padded."""
    return {
        "E": config.width,
        "H": config.heads,
        "K": config.key_heads,
        "D": config.head_dim,
        "F": config.hidden,
        "V": config.tokens,
        "C": config.context,
        **dict.fromkeys(_PARTS, len(_PARTS)),
    }


@dataclasses.dataclass(frozen=True)
class StoredWeight:
    """The part of a file's tensor that holds one of our weights.

    Attributes:
        tensor: name of the tensor.
        axes: letters of each of the tensor's axes.
        ours: letters of the weight's axes.
        lengths: length of the axis of each letter.
    """

    tensor: str
    axes: tuple[str, ...]
    ours: str
    lengths: Mapping[str, int]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the whole tensor."""
        return tuple(self._shape(axis) for axis in self.axes)

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """The shape of the weight, without padding."""
        return tuple(self.lengths[letter] for letter in self.ours)

    @property
    def part(self) -> str:
        """The part of a fused tensor, "q", "k" or "v"; "" if the weight is the whole tensor."""
        return next((letter for letter in "".join(self.axes) if letter in _PARTS), "")

    def read(
        self, index: Sequence[Range], source: Callable[[tuple[Range, ...]], np.ndarray]
    ) -> np.ndarray:
        """Reads a slice of the weight.

        Args:
            index: start and stop in each axis of the weight, inside its shape and not empty.
            source: function that returns the slice of the tensor in the given ranges.

        Returns:
            The slice, with the axes of the weight.
        """
        wanted = dict(zip(self.ours, index, strict=True))
        if self.part:
            number = _PARTS.index(self.part)
            wanted[self.part] = (number, number + 1)
        runs = [self._run(axis, wanted) for axis in self.axes]
        block = source(tuple(run for run, _, _ in runs))
        block = block.reshape([size for _, view, _ in runs for size in view])
        block = block[tuple(cut for _, _, cuts in runs for cut in cuts)]
        letters = "".join(self.axes)
        if self.part:
            block = block.squeeze(letters.index(self.part))
            letters = letters.replace(self.part, "")
        return block.transpose([letters.index(letter) for letter in self.ours])

    def write(self, tensor: np.ndarray, weight: np.ndarray) -> None:
        """Copies the whole weight into its part of `tensor`, which must be contiguous."""
        letters = "".join(self.axes)
        view = tensor.reshape([self.lengths[letter] for letter in letters])
        if self.part:
            view = np.moveaxis(view, letters.index(self.part), 0)[_PARTS.index(self.part)]
            letters = letters.replace(self.part, "")
        view[...] = weight.transpose([self.ours.index(letter) for letter in letters])

    def _shape(self, axis: str) -> int:
        return math.prod(self.lengths[letter] for letter in axis)

    def _run(self, axis: str, wanted: Mapping[str, Range]) -> tuple[Range, list[int], list[slice]]:
        """Returns the range of an axis to read, the shape to view it in, and the slices to cut out.

        The leading letters with one value each only shift the start. The next letter gives the
        range, and the letters after it are read whole and cut afterwards.
        """
        outer = 0
        while outer < len(axis) - 1 and wanted[axis[outer]][1] - wanted[axis[outer]][0] == 1:
            outer += 1
        low, high = wanted[axis[outer]]
        rest = axis[outer + 1 :]
        start = sum(
            wanted[letter][0] * self._shape(axis[at + 1 :])
            for at, letter in enumerate(axis[: outer + 1])
        )
        run = (start, start + (high - low) * self._shape(rest))
        view = [1] * outer + [high - low] + [self.lengths[letter] for letter in rest]
        cuts = [slice(None)] * (outer + 1) + [slice(*wanted[letter]) for letter in rest]
        return run, view, cuts


def stored_weight(
    line: str, module: str, bias: bool, ours: str, config: ModelConfig
) -> StoredWeight:
    """Parses a line of a family's table.

    Args:
        line: line of the table (see the module's docstring).
        module: prefix of the module's name, such as "model.layers.0.".
        bias: whether the module's bias is meant.
        ours: letters of the axes of our weight.
        config: configuration that gives the lengths of axes.
    """
    name, *axes = line.split()
    if not bias:
        return StoredWeight(f"{module}{name}.weight", tuple(axes), ours, lengths(config))
    ours = BIASES.get(ours, ours)
    out = next(axis for axis in axes if set(ours) <= set(axis))
    return StoredWeight(f"{module}{name}.bias", (out,), ours, lengths(config))


def is_finite(x: np.ndarray) -> bool:
    """Returns whether `x` has no NaN or infinity; tests the bits of bfloat16, which is faster."""
    if x.dtype == np.dtype("bfloat16"):
        return bool(np.all(x.view(np.uint16) & 0x7FFF < 0x7F80))
    return bool(np.isfinite(x).all())
