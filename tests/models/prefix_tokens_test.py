import jax
import numpy as np

import toys
from star_jax.models import prefix_tokens
from star_jax.runtime import sharding
from toys import eight_devices


@eight_devices
def test_every_device_has_the_padded_tokens():
    mesh = sharding.make_mesh(2, 2, 2)
    put = prefix_tokens.device_put(mesh, [5, 6, 7], 8)
    assert put.tokens.tolist() == [5, 6, 7, 0, 0, 0, 0, 0] and put.length == 3
    assert put.tokens.sharding.is_fully_replicated
    shapes = prefix_tokens.abstract(mesh, 8)
    for array, shape in zip(jax.tree.leaves(put), jax.tree.leaves(shapes), strict=True):
        assert (array.shape, array.dtype) == (shape.shape, shape.dtype)
        assert array.sharding.is_equivalent_to(shape.sharding, array.ndim)


def test_without_tokens_nothing_is_real():
    put = prefix_tokens.device_put(toys.one_device(), (), 4)
    assert put.length == 0 and not np.any(put.tokens)
