"""Compiles programs ahead of time: the one place where pure functions meet `jax.jit`.

A program is compiled from shapes alone, in the background and in the order in which programs are
added. After a run's first round nothing is compiled. Calls are timed, so that a run can say which
share of its time was not spent on the devices.
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
    """What a function is compiled for.

    Attributes:
        arguments: of the function, as trees of jax.ShapeDtypeStruct with shardings.
        out: the same for its result; the compiler chooses the shardings of what is None.
        donate: positions of the arguments whose memory the result may take.
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
    """One program of a `Compiler`; called like the function it was made of.

    Attributes:
        name: says what it does.
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
        """Starts the program; its result may not be there yet."""
        return self._compiler.dispatch(self, *args, **kwargs)


class Compiler:
    """Compiles the programs of a run, a few at a time, and times what they do.

    Attributes:
        programs: in the order in which they are compiled.
        device_seconds: in which programs ran, or were waited for to end.
        waited: seconds in which programs were waited for to be compiled.
    """

    def __init__(self) -> None:
        self.programs: list[Program[..., Any]] = []
        self.device_seconds = self.waited = 0.0
        # A core is left for data and weights; and what is compiled takes memory.
        self._pool = concurrent.futures.ThreadPoolExecutor(min(4, -(-(os.cpu_count() or 1) // 2)))
        self._jobs: dict[Program[..., Any], concurrent.futures.Future[Any]] = {}

    def add(
        self, name: str, function: Callable[P, R], signature: Callable[[], Signature]
    ) -> Program[P, R]:
        """Adds a program to those that `start` compiles.

        Args:
            name: says what it does.
            function: pure, of positional arguments.
            signature: makes what it is compiled for; called when it is lowered.
        """
        program = Program(self, name, function, signature)
        self.programs.append(program)
        return program

    def start(self) -> None:
        """Begins to compile all programs; a call of one waits for it."""
        for program in self.programs:
            if program not in self._jobs:
                self._jobs[program] = self._pool.submit(lambda one=program: one.lower().compile())

    def stop(self) -> None:
        """Compiles no more than what has been begun."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def missing(self) -> int:
        """Counts the programs that are not compiled yet."""
        return len(self.programs) - sum(job.done() for job in self._jobs.values())

    def finish(self, advance: Callable[[], object] = lambda: None) -> None:
        """Waits until all programs are compiled; calls `advance` for each it waited for."""
        self.start()
        begun = time.perf_counter()
        waiting = [job for job in self._jobs.values() if not job.done()]
        for _ in concurrent.futures.as_completed(waiting):
            advance()
        for job in self._jobs.values():
            job.result()  # or why there is none
        self.waited += time.perf_counter() - begun

    def dispatch(self, program: Program[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Starts a program, once it is compiled."""
        job = self._jobs[program]
        if not job.done():
            begun = time.perf_counter()
            job.exception()
            self.waited += time.perf_counter() - begun
        compiled = job.result()
        with self._timed():
            return compiled(*args, **kwargs)

    def wait(self, result: T) -> T:
        """Waits until the devices have made a result."""
        with self._timed():
            return jax.block_until_ready(result)

    @contextlib.contextmanager
    def _timed(self) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        self.device_seconds += time.perf_counter() - begun


def use_cache(folder: str) -> None:
    """Keeps what is compiled from now on in `folder`, however small, and looks for it there.

    The environment variable JAX_COMPILATION_CACHE_DIR names another folder.
    """
    folder = os.environ.get("JAX_COMPILATION_CACHE_DIR", folder)
    jax.config.update("jax_compilation_cache_dir", folder)
    if "://" in folder:  # XLA's own, for GPUs, are files of this machine
        jax.config.update("jax_persistent_cache_enable_xla_caches", "none")
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
