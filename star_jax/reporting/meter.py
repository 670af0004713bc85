"""Measures a process: seconds by phase, idle devices, compilations."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax

from star_jax.inference.slot_batch import SlotUsage
from star_jax.reporting.console import PHASES
from star_jax.runtime.compile import Compiler


@dataclasses.dataclass
class Stopwatch:
    """A stopwatch for the phases of a round; the time in which the process waited does not count.

    Attributes:
        seconds: phase -> seconds spent in it.
        waited: function that returns the seconds that the process has waited so far.
    """

    seconds: dict[str, float]
    waited: Callable[[], float] = lambda: 0.0

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Adds the time spent inside to phase `name`."""
        start = time.perf_counter() - self.waited()
        try:
            yield
        finally:
            spent = time.perf_counter() - self.waited() - start
            self.seconds[name] = self.seconds.get(name, 0.0) + spent


class CompilationCount:
    """Counts the programs that XLA compiles in this process, ours and all others.

    A program that XLA loads from the cache on disk does not count.
    """

    def __init__(self) -> None:
        self.total = 0
        jax.monitoring.register_event_duration_secs_listener(self._on_duration)
        jax.monitoring.register_event_listener(self._on_event)

    def _on_duration(self, event: str, duration_secs: float, **kwargs: Any) -> None:
        del duration_secs, kwargs
        self.total += event == "/jax/core/compile/backend_compile_duration"

    def _on_event(self, event: str, **kwargs: Any) -> None:
        del kwargs
        self.total -= event == "/jax/compilation_cache/cache_hits"


class Meter:
    """The measurements of a round.

    Args:
        compiler: compiler of the programs, which counts the seconds of waiting and of running.
        usage: usage of sampling's slots, summed over the run.
    """

    def __init__(self, compiler: Compiler, usage: SlotUsage) -> None:
        self._compiler, self._usage = compiler, usage
        self._compilations = CompilationCount()
        self.restart()

    def restart(self) -> None:
        """Starts the measurement of the next round."""
        self.watch = Stopwatch({}, lambda: self._compiler.waited)
        self._waited = self._compiler.waited
        self._compiled = self._compilations.total
        self._device_seconds = self._compiler.device_seconds
        self._before = dataclasses.replace(self._usage)
        self._start_time = time.perf_counter()

    def read(self) -> dict[str, Any]:
        """Returns the measurements so far; `host_share` is of the time without compilations."""
        total = time.perf_counter() - self._start_time
        waited = self._compiler.waited - self._waited
        device = self._compiler.device_seconds - self._device_seconds
        steps = self._usage.steps - self._before.steps
        busy = self._usage.busy - self._before.busy
        seconds = dict.fromkeys(PHASES, 0.0) | self.watch.seconds
        seconds |= ({"compile": waited} if waited else {}) | {"total": total}
        return {
            "compilations": self._compilations.total - self._compiled,
            "host_share": round(1 - device / (total - waited), 4),
            "slots_occupied": round(busy / steps, 4) if steps else None,
            "seconds": {phase: round(spent, 3) for phase, spent in seconds.items()},
        }
