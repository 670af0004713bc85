"""The processes of one run: who this one is, and how they wait for each other and agree.

All of them run the same program on the same mesh, and share the run's folder. Process 0 alone
decides what is done already, writes what there is one of, and speaks. With one process, all here
is free.
"""

import itertools
import json
from collections.abc import Callable
from typing import Any, TypeVar

import jax
from orbax.checkpoint import multihost

T = TypeVar("T")

_WAIT_MS = 24 * 3600 * 1000  # a lost process is found by its heartbeat, not by this
_numbers = itertools.count()  # of the meetings; the same in all processes, as all come to all


class OtherProcessError(RuntimeError):
    """Process 0 could not do what the others waited for; the message is its own."""


def index() -> int:
    """The number of this process, from 0."""
    return jax.process_index()


def count() -> int:
    """How many there are."""
    return jax.process_count()


def is_primary() -> bool:
    """Whether this is the process that writes files and talks to the user."""
    return index() == 0


def barrier() -> None:
    """Waits until every process is here."""
    if count() > 1:
        _client().wait_at_barrier(f"star_jax/{next(_numbers)}", _WAIT_MS)


def on_primary(act: Callable[[], T]) -> T:
    """What `act` returns in process 0, which alone calls it; the others wait for it.

    Args:
        act: returns what JSON can hold, such as None.

    Raises:
        OtherProcessError: it failed there. Process 0 itself raises what `act` did.
    """
    if count() == 1:
        return act()
    key = f"star_jax/{next(_numbers)}"
    if is_primary():
        return _tell(key, act)
    said = json.loads(_client().blocking_key_value_get(key, _WAIT_MS))
    if "failed" in said:
        raise OtherProcessError(said["failed"])
    return said["value"]


def _tell(key: str, act: Callable[[], T]) -> T:
    try:
        value = act()
    except Exception as error:
        _client().key_value_set(key, json.dumps({"failed": str(error)}))
        raise
    _client().key_value_set(key, json.dumps({"value": value}))
    return value


def _client() -> Any:
    """Of the service that jax.distributed has started: needs no device, unlike jax's barrier."""
    return multihost.get_jax_distributed_client()
