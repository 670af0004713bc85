import jax
import numpy as np
import pytest

from star_jax.grading import device_bytes


@pytest.mark.parametrize("by", [-9, -3, -1, 0, 1, 3, 9])
def test_a_shifted_row(by: int):
    row = np.arange(5)
    expected = [row[i + by] if 0 <= i + by < 5 else -1 for i in range(5)]
    assert device_bytes.shifted(jax.numpy.asarray(row), by).tolist() == expected


def test_letters_are_compared_by_ranges():
    row = jax.numpy.arange(128)
    for letters in ("a", "acb", "019aZ", "az", "_. "):
        expected = [chr(i) in letters for i in range(128)]
        assert device_bytes.among(row, letters).tolist() == expected


def test_marks_reach_as_far_as_what_ends_them():
    row = jax.numpy.asarray([ord(char) for char in "a..b.a"])
    marks, ends = device_bytes.among(row, "a"), device_bytes.among(row, "b")
    assert device_bytes.latest(marks, ends).tolist() == [True, True, True, False, False, True]
    found = device_bytes.next_is(marks, marks | ends)
    assert found.tolist() == [True, False, False, False, True, True]
    assert device_bytes.occurs(row, ".b").tolist() == [False, False, True, False, False, False]
    assert (int(device_bytes.first_of(marks)), int(device_bytes.last_of(ends))) == (0, 3)
    assert (int(device_bytes.first_of(row < 0)), int(device_bytes.last_of(row < 0))) == (6, -1)
    assert device_bytes.pick(row, jax.numpy.asarray(9)) == device_bytes.NOTHING
