"""The processes of one run: their roles, barriers, and results that they share.

All processes run the same program on the same mesh and share the run's folder. Process 0, the
primary, alone decides which phases are finished, writes files that are not split, and prints. With
one process these functions cost nothing.
"""

import itertools
import json
from collections.abc import Callable
from typing import Any, TypeVar

import jax
from orbax.checkpoint import multihost

T = TypeVar("T")

_WAIT_MS = 24 * 3600 * 1000  # long, because a lost process is detected by its heartbeat
# Numbers of barriers and keys: the same in all processes, because all take part in each.
_numbers = itertools.count()


class OtherProcessError(RuntimeError):
    """Process 0 failed at what the others waited for; the message is that of its error."""


def index() -> int:
    """Returns the number of this process, from 0."""
    return jax.process_index()


def count() -> int:
    """Returns the number of processes."""
    return jax.process_count()


def is_primary() -> bool:
    """Returns whether this is the process that writes files and prints, process 0."""
    return index() == 0


def barrier() -> None:
    """Waits until every process has called it."""
    if count() > 1:
        _client().wait_at_barrier(f"star_jax/{next(_numbers)}", _WAIT_MS)


def on_primary(act: Callable[[], T]) -> T:
    """Calls `act` in process 0 only and returns its result in all processes.

    Args:
        act: function whose result JSON can hold, such as None.

    Raises:
        OtherProcessError: `act` failed in process 0, which itself raises the original error.
    """
    if count() == 1:
        return act()
    key = f"star_jax/{next(_numbers)}"
    if is_primary():
        return _publish(key, act)
    message = json.loads(_client().blocking_key_value_get(key, _WAIT_MS))
    if "failed" in message:
        raise OtherProcessError(message["failed"])
    return message["value"]


def _publish(key: str, act: Callable[[], T]) -> T:
    """Calls `act` and sends its result, or its error, to the other processes."""
    try:
        value = act()
    except Exception as error:
        _client().key_value_set(key, json.dumps({"failed": str(error)}))
        raise
    _client().key_value_set(key, json.dumps({"value": value}))
    return value


def _client() -> Any:
    """Returns the client of jax.distributed; its barrier, unlike jax's own, uses no device."""
    return multihost.get_jax_distributed_client()
