"""Counts what XLA compiles."""

from typing import Any

import jax


class CompilationCount:
    """Counts what XLA compiles in this process, our programs and anything else."""

    def __init__(self) -> None:
        self.total = 0
        jax.monitoring.register_event_duration_secs_listener(self._hear)

    def _hear(self, event: str, duration_secs: float, **kwargs: Any) -> None:
        del duration_secs, kwargs
        self.total += event == "/jax/core/compile/backend_compile_duration"
