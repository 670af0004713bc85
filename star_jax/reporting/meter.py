"""What a process measures of itself: seconds by phase, idle devices, compilations."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax

from star_jax.reporting.console import PHASES


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
        device_seconds: says how long programs have run on the devices so far.
        slots: says how many steps sampling's slots have made so far, and how many with a row in it.
        waited: says how long programs have been waited for to be compiled so far.
    """

    def __init__(
        self,
        device_seconds: Callable[[], float],
        slots: Callable[[], tuple[int, int]] = lambda: (0, 0),
        waited: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._device_seconds, self._compilations = device_seconds, CompilationCount()
        self._slots, self._waited = slots, waited
        self.restart()

    def restart(self) -> None:
        """Begins to measure the next round."""
        self.watch = Stopwatch({}, self._waited)
        self._compiling = self._waited()
        self._compiled = self._compilations.total
        self._device, self._stepped = self._device_seconds(), self._slots()
        self._begun = time.perf_counter()

    def read(self) -> dict[str, Any]:
        """The measurements so far; `host_share` is of the time that nothing was compiled in."""
        total = time.perf_counter() - self._begun
        waited = self._waited() - self._compiling
        device = self._device_seconds() - self._device
        steps, busy = (now - then for now, then in zip(self._slots(), self._stepped, strict=True))
        seconds = dict.fromkeys(PHASES, 0.0) | self.watch.seconds
        seconds |= ({"compile": waited} if waited else {}) | {"total": total}
        return {
            "compilations": self._compilations.total - self._compiled,
            "host_share": round(1 - device / (total - waited), 4),
            "slots_occupied": round(busy / steps, 4) if steps else None,
            "seconds": {phase: round(spent, 3) for phase, spent in seconds.items()},
        }
