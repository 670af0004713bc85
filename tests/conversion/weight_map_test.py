import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from star_jax.conversion.weight_map import INSIDE, OUTSIDE, StoredWeight, stored_weight
from star_jax.models.config import ModelConfig

CONFIG = ModelConfig(
    layers=1,
    width=4,
    heads=6,
    head_dim=5,
    hidden=3,
    rotary=2,
    vocab=8,
    context=7,
    vocab_padding=1,
    kv_heads=2,
)
# line, axes of ours, whether the bias: the tensor's shape, and the weight in it by hand.
PLACES = {
    ("q HD E", "EHD", False): ((30, 4), lambda t: t.reshape(6, 5, 4).transpose(2, 0, 1)),
    ("k KD E", "EKD", False): ((10, 4), lambda t: t.reshape(2, 5, 4).transpose(2, 0, 1)),
    ("out E HD", "HDE", False): ((4, 30), lambda t: t.reshape(4, 6, 5).transpose(1, 2, 0)),
    ("c E qHD", "EHD", False): ((4, 90), lambda t: t[:, :30].reshape(4, 6, 5)),
    ("c E vHD", "EHD", False): ((4, 90), lambda t: t[:, 60:].reshape(4, 6, 5)),
    ("c E kHD", "EHD", True): ((90,), lambda t: t[30:60].reshape(6, 5)),
    ("x HkD E", "EHD", False): (
        (90, 4),
        lambda t: t.reshape(6, 3, 5, 4)[:, 1].transpose(2, 0, 1),
    ),
    ("x HvD E", "EHD", True): ((90,), lambda t: t.reshape(6, 3, 5)[:, 2]),
    ("out E HD", "HDE", True): ((4,), lambda t: t),
    ("up F E", "EF", False): ((3, 4), lambda t: t.T),
    ("up F E", "EF", True): ((3,), lambda t: t),
    ("down F E", "FE", False): ((3, 4), lambda t: t),
    ("down F E", "FE", True): ((4,), lambda t: t),
    ("wte V E", "VE", False): ((7, 4), lambda t: t),
    ("head V E", "EV", False): ((7, 4), lambda t: t.T),
    ("head V E", "EV", True): ((7,), lambda t: t),
    ("ln E", "E", False): ((4,), lambda t: t),
}


def of(line: str, ours: str, bias: bool) -> StoredWeight:
    return stored_weight(line, "h.0.", bias, ours, CONFIG)


@pytest.mark.parametrize("key", PLACES, ids=str)
def test_a_place_says_name_and_shape(key: tuple[str, str, bool]):
    found, (shape, weight) = of(*key), PLACES[key]
    kind = "bias" if key[2] else "weight"
    assert (found.tensor, found.shape) == (f"h.0.{key[0].split()[0]}.{kind}", shape)
    assert found.weight_shape == weight(np.zeros(shape)).shape


@given(data=st.data(), key=st.sampled_from(list(PLACES)))
def test_any_part_is_that_part_of_the_whole(data: st.DataObject, key: tuple[str, str, bool]):
    found, (shape, weight) = of(*key), PLACES[key]
    tensor = np.arange(np.prod(shape)).reshape(shape)
    index = []
    for size in found.weight_shape:
        start = data.draw(st.integers(0, size - 1))
        index.append((start, data.draw(st.integers(start + 1, size))))
    part = found.read(index, lambda runs: tensor[tuple(slice(*run) for run in runs)])
    assert (part == weight(tensor)[tuple(slice(*range_) for range_ in index)]).all()


@pytest.mark.parametrize("key", PLACES, ids=str)
def test_no_more_is_read_than_whole_runs(key: tuple[str, str, bool]):
    found = of(*key)
    asked = []

    def source(runs: tuple) -> np.ndarray:
        asked.append(runs)
        return np.zeros([stop - start for start, stop in runs])

    first = [(0, 1), *((0, size) for size in found.weight_shape[1:])]
    found.read(first, source)
    read = np.prod([stop - start for start, stop in asked[0]])
    parts = 3 if "Hk" in key[0] or "Hv" in key[0] else 1  # of a head, q, k and v lie side by side
    assert read <= parts * np.prod(found.weight_shape[1:])


@pytest.mark.parametrize("key", PLACES, ids=str)
def test_writing_is_the_reverse_of_reading(key: tuple[str, str, bool]):
    found, (shape, weight) = of(*key), PLACES[key]
    given_ = np.arange(1, 1 + np.prod(found.weight_shape)).reshape(found.weight_shape)
    tensor = np.zeros(shape, int)
    found.write(tensor, given_)
    assert (weight(tensor) == given_).all() and np.count_nonzero(tensor) == given_.size


def test_every_axis_has_a_length():
    letters = set("".join([*OUTSIDE.values(), *INSIDE.values()]))
    assert letters <= set(of("ln E", "E", False).lengths)
