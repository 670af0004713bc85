"""Starts a run of several processes; ends this one with a plain message when another is gone.

jax is imported here only after the flags are checked.
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
_STARTED = 300  # timeout in seconds for the processes to find each other
_ENDED = 30  # timeout in seconds for the processes to end together
_GRACE = 2  # seconds in which the other processes print their last messages
# Words of errors that another process has caused: a closed socket, a broken barrier.
_OTHERS = ("Gloo", "closed by peer", "coordination", "Barrier")
_GOES_ON = "nothing that was done is lost: the same command, in all processes, goes on"


def process_flags() -> tuple[str | None, int | None, int | None]:
    """Returns the values of the flags, unchecked: coordinator, processes, process."""
    return _COORDINATOR.value, _PROCESSES.value, _PROCESS.value


def check(coordinator: str | None, processes: int | None, process: int | None) -> None:
    """Checks the flags of a run of several processes.

    Args:
        coordinator: address of process 0, host:port; None if the flag is not given.
        processes: number of processes; None if the flag is not given.
        process: number of this process, from 0; None if the flag is not given.

    Raises:
        SettingsError: a flag is missing or wrong; the message names the flag and the remedy.
    """
    values = {"--coordinator": coordinator, "--processes": processes, "--process": process}
    missing = [name for name, value in values.items() if value is None]
    if coordinator is None or processes is None or process is None:
        if len(missing) < len(values):
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
    """Makes the body one of several processes, if the flags or the cluster say so.

    The arguments are those of `check`, checked. With several processes, an error in the body ends
    the process at once: an orderly exit would wait for the others, which wait for this one.
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
    """Sets environment variables that jax reads when it starts, unless they are set already."""
    # Orbax copies a state to pinned host memory, which XLA for GPUs limits to 64 GB.
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
    os.environ.setdefault("XLA_PJRT_GPU_HOST_MEMORY_LIMIT_GB", str(max(64, memory)))
    if "TPU_SKIP_MDS_QUERY" in os.environ:  # a notebook's TPU: no server for the number of slices
        os.environ.setdefault("MEGASCALE_NUM_SLICES", "1")


def _found() -> int:
    """Returns the number of processes that the cluster reports; 1 without a cluster.

    `jax.distributed.initialize` detects the same, but does not tell when it is not needed.
    Kubernetes is skipped outside of indexed jobs: a single pod has no others to find.
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
    """Connects the processes; raises SettingsError where that fails."""
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
            # With flags, jax need not detect a cluster.
            cluster_detection_method="deactivate" if coordinator else None,
        )
    except (RuntimeError, ValueError) as error:
        raise SettingsError(
            f"the processes did not find each other ({error}); say where they are by "
            "--coordinator=HOST:PORT --processes=N --process=I"
        ) from error


def _check_port(coordinator: str) -> None:
    """Checks that the coordinator's port is free: jaxlib would crash without a message."""
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
    """Prints why this process ends; XLA names a lost process only after `HEARTBEAT` seconds."""
    others = type(error).__name__ == "JaxRuntimeError" and any(w in str(error) for w in _OTHERS)
    if others:
        line = str(error).partition("\n")[0]
        print(f"{who}: waits to hear which process is gone ({line})", file=sys.stderr, flush=True)
        time.sleep(HEARTBEAT + 10)  # `_on_abort` comes first, unless all are there
    if type(error).__name__ != "OtherProcessError":
        traceback.print_exc()
    _leave(f"star_jax, {who}: ends here: {error}; {_GOES_ON}", 1)


def _leave(why: str, status: int) -> NoReturn:
    """Prints `why` and ends the process with an exit status, without cleaning up."""
    import jax

    print(why, file=sys.stderr, flush=True)
    sys.stdout.flush()
    if jax.process_index() == 0:
        time.sleep(_GRACE)  # the service ends with this process: let the others print first
    os._exit(status)


def _on_abort(why: str) -> None:
    """Prints `why` when XLA aborts, which it does when a process is gone, and exits with 1.

    Python's signal handlers do not run then, and a callback passed to the client of the service
    fails in jaxlib (a C++ bad_cast); so this installs a handler of C.
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


_handler: Any = None  # a reference, so that the function that C calls is not collected
