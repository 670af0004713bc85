"""Starts a run over several processes, and ends this one plainly when another is gone.

jax is imported here only once nothing is refused.
"""

import contextlib
import ctypes
import os
import signal
import socket
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from typing import Any, NoReturn

from absl import flags

from star_jax.config.validation import SettingsError

_COORDINATOR = flags.DEFINE_string("coordinator", None, "host:port of process 0")
_PROCESSES = flags.DEFINE_integer("processes", None, "how many processes share the run")
_PROCESS = flags.DEFINE_integer("process", None, "the number of this one, from 0")

HEARTBEAT = 30  # seconds of silence after which a process counts as gone
_STARTED = 300  # seconds that the processes have to find each other
_ENDED = 30  # seconds that they have to end together
_WORDS = 2  # seconds for last words
# What an error says that is not this process's own: a peer's socket closed, a barrier was broken.
_OTHERS = ("Gloo", "closed by peer", "coordination", "Barrier")
_GOES_ON = "nothing that was done is lost: the same command, in all processes, goes on"


def process_flags() -> tuple[str | None, int | None, int | None]:
    """What the flags say: coordinator, processes, process; not checked."""
    return _COORDINATOR.value, _PROCESSES.value, _PROCESS.value


def check(coordinator: str | None, processes: int | None, process: int | None) -> None:
    """Refuses flags that cannot be meant.

    Raises:
        SettingsError: naming the flag and the remedy.
    """
    given = {"--coordinator": coordinator, "--processes": processes, "--process": process}
    missing = [name for name, value in given.items() if value is None]
    if coordinator is None or processes is None or process is None:
        if len(missing) < len(given):
            raise SettingsError(
                f"{', '.join(missing)}: missing; give all of --coordinator=HOST:PORT "
                "--processes=N --process=I, or none of them where the cluster says it"
            )
        return
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 2**16:
        raise SettingsError(
            f"--coordinator={coordinator}: must be HOST:PORT, where process 0 runs and a port that "
            "is free there, such as 10.0.0.1:8476"
        )
    if processes < 1:
        raise SettingsError(f"--processes={processes}: must be how many there are, at least 1")
    if not 0 <= process < processes:
        raise SettingsError(
            f"--process={process}: must be in 0..{processes - 1}, another in each of the "
            f"--processes={processes}"
        )


@contextlib.contextmanager
def initialized(
    coordinator: str | None, processes: int | None, process: int | None
) -> Iterator[None]:
    """What runs inside is one of several processes, where flags or the cluster say so.

    Arguments are those of `check`, checked. What fails inside ends the process, where there are
    several: at its orderly end it would wait for the others, which wait for it.
    """
    _environment()
    import jax

    if coordinator is None and _found() == 1:
        yield
        return
    if coordinator and process == 0:
        _check_port(coordinator)
    _start(jax, coordinator, processes, process)
    who = f"process {jax.process_index()} of {jax.process_count()}"
    _on_abort(
        f"star_jax, {who}: another process is gone (or was started twice), as XLA says above with "
        f"its number; {_GOES_ON}"
    )
    if jax.process_index():
        warnings.formatwarning = lambda message, kind, *_: f"{who}: {kind.__name__}: {message}\n"
    try:
        yield
    except SettingsError as error:
        _leave(f"{who}: {error}", 2)
    except KeyboardInterrupt:
        _leave(f"\n{who}: stopped; {_GOES_ON}", 130)
    except Exception as error:
        _fail(who, error)


def _environment() -> None:
    """What JAX has to know before it starts; what is set stays as it is."""
    # Orbax copies a state to pinned memory of the host, of which XLA for GPUs allows 64 GB.
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
    os.environ.setdefault("XLA_PJRT_GPU_HOST_MEMORY_LIMIT_GB", str(max(64, memory)))
    if "TPU_SKIP_MDS_QUERY" in os.environ:  # a notebook's TPU: no server would say how many slices
        os.environ.setdefault("MEGASCALE_NUM_SLICES", "1")


def _found() -> int:
    """How many processes the cluster says there are; 1 where there is no cluster.

    `jax.distributed.initialize` finds the same, but does not say when there is no need for it. It
    is not asked about Kubernetes outside of indexed jobs: a lone pod has nothing to find.
    """
    from jax._src import clusters

    for kind in clusters.ClusterEnv._cluster_types:
        alone = kind.name == "k8s" and "JOB_COMPLETION_INDEX" not in os.environ
        try:
            if not kind.opt_in_only_method and not alone and kind.is_env_present():
                return kind.get_process_count()
        except (ImportError, OSError, RuntimeError) as error:
            raise SettingsError(
                f"the cluster ({kind.name}) does not say how many processes there are ({error}); "
                "say it by --coordinator=HOST:PORT --processes=N --process=I; on a single TPU "
                "machine, set TPU_SKIP_MDS_QUERY=1 in the environment"
            ) from error
    return 1


def _start(jax: Any, coordinator: str | None, processes: int | None, process: int | None) -> None:
    jax.config.update("jax_enable_preemption_service", False)  # it would swallow SIGTERM
    _on_abort(
        f"star_jax: the processes did not find each other within {_STARTED} s; start all of them, "
        "each with a --process of its own, with one --coordinator that all can reach"
    )
    try:
        jax.distributed.initialize(
            coordinator,
            processes,
            process,
            initialization_timeout=_STARTED,
            heartbeat_timeout_seconds=HEARTBEAT,
            shutdown_timeout_seconds=_ENDED,
            # What flags say is all there is to say.
            cluster_detection_method="deactivate" if coordinator else None,
        )
    except (RuntimeError, ValueError) as error:
        raise SettingsError(
            f"the processes did not find each other ({error}); say where they are by "
            "--coordinator=HOST:PORT --processes=N --process=I"
        ) from error


def _check_port(coordinator: str) -> None:
    """Jaxlib crashes where the coordinator's port is taken."""
    port = int(coordinator.rpartition(":")[2])
    both = socket.has_dualstack_ipv6()
    try:
        family = socket.AF_INET6 if both else socket.AF_INET
        socket.create_server(("", port), family=family, dualstack_ipv6=both).close()
    except OSError as error:
        raise SettingsError(
            f"--coordinator={coordinator}: port {port} cannot be had here ({error.strerror}); "
            "choose another one in all processes, or end what holds it"
        ) from error


def _fail(who: str, error: Exception) -> NoReturn:
    """Says why this process ends. Of another's end, XLA knows the number after `HEARTBEAT`."""
    others = type(error).__name__ == "JaxRuntimeError" and any(w in str(error) for w in _OTHERS)
    if others:
        line = str(error).partition("\n")[0]
        print(f"{who}: waits to hear which process is gone ({line})", file=sys.stderr, flush=True)
        time.sleep(HEARTBEAT + 10)  # `_on_abort` comes first, unless all are there
    if type(error).__name__ != "OtherProcessError":
        traceback.print_exc()
    _leave(f"star_jax, {who}: ends here: {error}; {_GOES_ON}", 1)


def _leave(why: str, status: int) -> NoReturn:
    import jax

    print(why, file=sys.stderr, flush=True)
    sys.stdout.flush()
    if jax.process_index() == 0:
        time.sleep(_WORDS)  # the service ends with it: the others shall say theirs first
    os._exit(status)


def _on_abort(why: str) -> None:
    """Adds a line of ours to XLA's own when it aborts, which it does when a process is gone.

    Python's handlers never get to run then, and the callback that the client of the service can
    be given fails in jaxlib (a C++ bad_cast); so this is a handler in C's sense.
    """

    def say(number: int) -> None:
        del number
        os.write(2, f"{why}\n".encode())
        os._exit(1)

    global _handler
    _handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(say)
    libc = ctypes.CDLL(None)
    libc.signal.argtypes = (ctypes.c_int, ctypes.c_void_p)
    libc.signal.restype = ctypes.c_void_p
    libc.signal(signal.SIGABRT, ctypes.cast(_handler, ctypes.c_void_p))


_handler: Any = None  # kept: what C calls must not be collected
