"""star_jax/byte_text.py; that it reads what the host reads is tested with the grader."""

import functools
import itertools
import re
import sys

import jax
import numpy as np

import smollm2
from byte_grader_test import BYTEWISE, table
from star_jax import byte_text
from star_jax.sampler.decode import make_stop


def test_bytes_are_decoded_as_python_does_it():
    """Every mix of bytes at the borders of what UTF-8 allows, four long."""
    edges = b"\x00\x7f\x80\x8f\x90\x9f\xa0\xbf\xc1\xc2\xdf\xe0\xe1\xec\xed\xef\xf0\xf1\xf4\xf5\xff"
    rows = np.array(list(itertools.product(edges, repeat=4)), np.uint8)
    stop = make_stop((), "", [bytes([byte]) for byte in range(256)], 256)
    length = np.full((len(rows),), 4, np.int32)
    found = jax.jit(functools.partial(byte_text.read, stop=stop, room=4))(rows, length)
    expected = [row.tobytes().decode(errors="replace") for row in rows]
    got = np.asarray(found.characters)
    assert ["".join(map(chr, row[row >= 0])) for row in got] == expected


def test_white_space_is_that_of_python():
    every = "".join(map(chr, range(sys.maxunicode + 1)))
    assert "".join(re.findall(r"\s", every)) == byte_text.SPACES
    assert "".join(char for char in every if char.isspace()) == byte_text.SPACES
    breaks = "".join(char for char in every if len(f"a{char}b".splitlines()) == 2)
    assert breaks == byte_text.BREAKS


def test_room_is_made_for_what_a_vocabulary_usually_writes():
    assert byte_text.rooms(table(BYTEWISE, ""), 40) == (40, 40)  # one byte a token at most
    usual, most = byte_text.rooms(table(smollm2.tokenizer(), ""), 100)
    assert (usual, most) == (1352, 8100)
