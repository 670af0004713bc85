"""star_jax/reporting/meter.py."""

import time

import jax
import numpy as np
import pytest

from star_jax.inference.scheduler import SlotUsage
from star_jax.reporting.meter import CompilationCount, Meter, Stopwatch
from star_jax.runtime.compile import Compiler


def test_a_stopwatch_adds_up_what_it_is_told_even_if_it_fails():
    watch = Stopwatch({})
    with watch.phase("a"), watch.phase("b"):
        pass
    first = watch.seconds["a"]
    with pytest.raises(ValueError), watch.phase("a"):
        raise ValueError
    assert watch.seconds["a"] > first >= watch.seconds["b"] > 0


def test_compilations_are_counted():
    compilations = CompilationCount()
    jax.jit(lambda x: 3 * x + 17)(np.arange(5)).block_until_ready()
    assert compilations.total > 0


def test_a_meter_tells_the_devices_share_of_what_was_not_compiling():
    compiler = Compiler()
    meter = Meter(compiler, SlotUsage())
    begun = time.perf_counter()
    with meter.watch.phase("train"):
        time.sleep(0.2)
        compiler.waited = waited = time.perf_counter() - begun
        time.sleep(0.2)
    compiler.device_seconds = device = time.perf_counter() - begun - waited
    found = meter.read()
    assert found["host_share"] == pytest.approx(0, abs=0.05)
    assert found["seconds"]["train"] == pytest.approx(device, abs=0.01)
    assert found["seconds"]["compile"] == pytest.approx(waited, abs=0.01)
    assert found["seconds"]["total"] >= 0.4 and found["seconds"]["generate"] == 0
    assert found["slots_occupied"] is None
    meter.restart()
    seconds = meter.read()["seconds"]
    assert seconds["train"] == 0 and "compile" not in seconds


def test_a_meter_tells_the_share_of_slots_that_had_a_row():
    usage = SlotUsage(100, 60)
    meter = Meter(Compiler(), usage)
    usage.add(SlotUsage(200, 160))
    assert meter.read()["slots_occupied"] == 0.8
