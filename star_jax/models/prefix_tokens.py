"""The tokens of the few-shot prompt, which all rows share, on the devices."""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np
from jax.sharding import Mesh

from star_jax.runtime import sharding


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PrefixTokens:
    """The tokens of a few-shot prompt, which all rows share.

    Attributes:
        tokens: token ids [S] int32, padded on the right.
        length: number of real tokens [] int32; 0: there is no prompt.
    """

    tokens: jax.Array
    length: jax.Array


def device_put(mesh: Mesh, tokens: Sequence[int], size: int) -> PrefixTokens:
    """Puts the tokens on every device of the mesh, padded to `size`."""
    padded = np.zeros((size,), np.int32)
    padded[: len(tokens)] = tokens
    length = np.int32(len(tokens))
    return PrefixTokens(*(sharding.device_put(mesh, x) for x in (padded, length)))


def abstract(mesh: Mesh, size: int) -> PrefixTokens:
    """Returns the shapes and shardings of the result of `device_put`."""
    tokens = sharding.abstract(mesh, (size,), np.int32)
    return PrefixTokens(tokens, sharding.abstract(mesh, (), np.int32))
