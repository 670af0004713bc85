import concurrent.futures
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import toys
from star_jax.data import packing
from star_jax.reporting.meter import CompilationCount
from star_jax.runtime import sharding
from star_jax.runtime.compile import Compiler, Signature
from tests.inference.programs_test import ONE, PREFIX, ROWS, made, sample
from tests.training.programs_test import PACKED


def test_nothing_is_compiled_after_compile():
    programs, rows = made(ONE), ROWS
    compilations = CompilationCount()
    params = programs.init(3)
    for before in ([], PREFIX):
        sample(programs, params, rows, before)
    learner = programs.update.begin(params)
    for batch in packing.batches(PACKED, 8, seed=0, steps=3):
        learner, _ = programs.update.update(learner, batch, 1e-2)
    sample(programs, learner.params, rows, PREFIX)  # what was learned is sampled from as it is
    programs.update.begin(learner.params)
    assert compilations.total == 0


def test_device_seconds_are_counted():
    programs = made(ONE)
    before = programs.compiler.device_seconds
    programs.init(0)
    assert programs.compiler.device_seconds > before


def test_compile_tells_of_every_program():
    told = []
    programs = toys.programs(toys.one_device(), spec=None)
    programs.compiler.finish(lambda: told.append(1))
    assert (
        len(told) == len(programs.compiler.programs) == 2
    )  # of a model that is drawn, and sampled from on a CPU


def test_a_program_is_called_like_its_function():
    compiler = Compiler()
    number = sharding.abstract(toys.one_device(), (), np.int32)

    def twice(x: jax.Array, y: jax.Array) -> jax.Array:
        return 2 * x + y

    program = compiler.add("twice", twice, lambda: Signature((number, number)))
    compiler.start()
    assert program(jnp.int32(3), jnp.int32(1)) == 7
    assert program.name == "twice" and compiler.missing() == 0


def test_programs_are_compiled_in_the_order_in_which_they_were_added():
    compiler, lowered = Compiler(), list[str]()
    compiler._pool = concurrent.futures.ThreadPoolExecutor(1)
    number = sharding.abstract(toys.one_device(), (), np.int32)

    def signature(name: str) -> Signature:
        lowered.append(name)
        return Signature((number,))

    names = ["first", "second", "third"]
    for name in names:
        compiler.add(name, lambda x: x + 1, functools.partial(signature, name))
    compiler.finish()
    assert lowered == names


def test_what_cannot_be_compiled_says_why_where_it_is_called():
    compiler = Compiler()

    def fail() -> Signature:
        raise ValueError("no such shape")

    program = compiler.add("bad", lambda x: x, fail)
    compiler.start()
    with pytest.raises(ValueError, match="no such shape"):
        program(jnp.int32(1))
    with pytest.raises(ValueError, match="no such shape"):
        compiler.finish()
