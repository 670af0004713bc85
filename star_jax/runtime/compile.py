"""Compiles programs ahead of time: the one place where programs are jitted.

A program is compiled from shapes alone, in the background and in the order in which programs are
added. After a run's first round nothing is compiled. Calls are timed, so that a run can report
which share of its time was not spent on the devices.
"""

import concurrent.futures
import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Iterator
from typing import Any, Generic, ParamSpec, TypeVar

import jax

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Signature:
    """The shapes and shardings that a function is compiled for.

    Attributes:
        arguments: arguments of the function, as trees of jax.ShapeDtypeStruct with shardings.
        out: result of the function, likewise; the compiler chooses shardings where it is None.
        donate: indices of the arguments whose memory the result may reuse.
    """

    arguments: tuple[Any, ...]
    out: Any = None
    donate: tuple[int, ...] = ()


def lower(function: Callable[..., Any], signature: Signature) -> Any:
    """Lowers a function for the devices of its signature; the caller compiles it."""
    shardings = jax.tree.map(lambda x: x.sharding, signature.out)
    jitted = jax.jit(function, out_shardings=shardings, donate_argnums=signature.donate)
    return jitted.lower(*signature.arguments)


class Program(Generic[P, R]):
    """One program of a `Compiler`; it is called like the function that it compiles.

    Attributes:
        name: name of the program, which says what it does.
    """

    def __init__(
        self,
        compiler: "Compiler",
        name: str,
        function: Callable[P, R],
        signature: Callable[[], Signature],
    ) -> None:
        self.name = name
        self._compiler, self._function, self._signature = compiler, function, signature

    def lower(self) -> Any:
        """Lowers the program; the caller compiles it."""
        return lower(self._function, self._signature())

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs the program and waits for the devices."""
        return self._compiler.wait(self.dispatch(*args, **kwargs))

    def dispatch(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Starts the program; returns its result, which the devices may still be computing."""
        return self._compiler.dispatch(self, *args, **kwargs)


class Compiler:
    """Compiles the programs of a run, a few at a time, and times their calls.

    Attributes:
        programs: programs in the order in which they are compiled.
        device_seconds: seconds in which programs ran, or the host waited for their results.
        waited: seconds in which the host waited for programs to be compiled.
    """

    def __init__(self) -> None:
        self.programs: list[Program[..., Any]] = []
        self.device_seconds = self.waited = 0.0
        # Fewer threads than cores: loading needs cores too, and each compilation takes memory.
        self._pool = concurrent.futures.ThreadPoolExecutor(min(4, -(-(os.cpu_count() or 1) // 2)))
        self._jobs: dict[Program[..., Any], concurrent.futures.Future[Any]] = {}

    def add(
        self, name: str, function: Callable[P, R], signature: Callable[[], Signature]
    ) -> Program[P, R]:
        """Adds a program to those that `start` compiles.

        Args:
            name: name that says what the program does.
            function: pure function of positional arguments.
            signature: function that makes the signature; called when the program is lowered.
        """
        program = Program(self, name, function, signature)
        self.programs.append(program)
        return program

    def start(self) -> None:
        """Starts to compile all programs; the call of a program waits until it is compiled."""
        for program in self.programs:
            if program not in self._jobs:
                self._jobs[program] = self._pool.submit(lambda one=program: one.lower().compile())

    def stop(self) -> None:
        """Starts no further compilations."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def missing(self) -> int:
        """Counts the programs that are not compiled yet."""
        return len(self.programs) - sum(job.done() for job in self._jobs.values())

    def finish(self, advance: Callable[[], object] = lambda: None) -> None:
        """Waits until all programs are compiled; calls `advance` for each it waited for."""
        self.start()
        start_time = time.perf_counter()
        waiting = [job for job in self._jobs.values() if not job.done()]
        for _ in concurrent.futures.as_completed(waiting):
            advance()
        for job in self._jobs.values():
            job.result()  # raises the error of a failed compilation
        self.waited += time.perf_counter() - start_time

    def dispatch(self, program: Program[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Starts a program, once it is compiled."""
        job = self._jobs[program]
        if not job.done():
            start_time = time.perf_counter()
            job.exception()
            self.waited += time.perf_counter() - start_time
        compiled = job.result()
        with self._timed():
            return compiled(*args, **kwargs)

    def wait(self, result: T) -> T:
        """Waits until the devices have computed a result."""
        with self._timed():
            return jax.block_until_ready(result)

    @contextlib.contextmanager
    def _timed(self) -> Iterator[None]:
        start_time = time.perf_counter()
        yield
        self.device_seconds += time.perf_counter() - start_time


def use_cache(folder: str) -> None:
    """Caches all programs that are compiled from now on in `folder`, however small.

    The environment variable JAX_COMPILATION_CACHE_DIR overrides the folder.
    """
    folder = os.environ.get("JAX_COMPILATION_CACHE_DIR", folder)
    jax.config.update("jax_compilation_cache_dir", folder)
    if "://" in folder:  # XLA's own caches, for GPUs, must be local files
        jax.config.update("jax_persistent_cache_enable_xla_caches", "none")
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
