"""What a process measures of itself: seconds by phase, idle devices, compilations."""

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
    """Seconds by phase, as measured by this process; those in which it waited are left out.

    Attributes:
        seconds: by phase.
        waited: says how long it has waited so far.
    """

    seconds: dict[str, float]
    waited: Callable[[], float] = lambda: 0.0

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Adds the time spent inside to phase `name`."""
        begun = time.perf_counter() - self.waited()
        try:
            yield
        finally:
            spent = time.perf_counter() - self.waited() - begun
            self.seconds[name] = self.seconds.get(name, 0.0) + spent


class CompilationCount:
    """Counts what XLA compiles in this process, our programs and anything else.

    What it takes ready made from a cache on disk does not count.
    """

    def __init__(self) -> None:
        self.total = 0
        jax.monitoring.register_event_duration_secs_listener(self._hear)
        jax.monitoring.register_event_listener(self._find)

    def _hear(self, event: str, duration_secs: float, **kwargs: Any) -> None:
        del duration_secs, kwargs
        self.total += event == "/jax/core/compile/backend_compile_duration"

    def _find(self, event: str, **kwargs: Any) -> None:
        del kwargs
        self.total -= event == "/jax/compilation_cache/cache_hits"


class Meter:
    """What is measured of a round.

    Args:
        compiler: of the programs that run, and are waited for.
        usage: of sampling's slots, added up as the run goes on.
    """

    def __init__(self, compiler: Compiler, usage: SlotUsage) -> None:
        self._compiler, self._usage = compiler, usage
        self._compilations = CompilationCount()
        self.restart()

    def restart(self) -> None:
        """Begins to measure the next round."""
        self.watch = Stopwatch({}, lambda: self._compiler.waited)
        self._waited = self._compiler.waited
        self._compiled = self._compilations.total
        self._device_seconds = self._compiler.device_seconds
        self._before = dataclasses.replace(self._usage)
        self._begun = time.perf_counter()

    def read(self) -> dict[str, Any]:
        """The measurements so far; `host_share` is of the time that nothing was compiled in."""
        total = time.perf_counter() - self._begun
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
