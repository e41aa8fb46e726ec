"""One connection to Ray for several pools, one after the other: a sweep need not start Ray for each of its runs.

This module does not import Ray before a pool connects.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from distes.errors import ClusterError
from distes.errors.messages import progress

if TYPE_CHECKING:
    from distes.pools.on_ray.connection import Connection

FREE_SECONDS = 10.0  # seconds that the CPUs of the previous pool's workers may take to become free


class _Held:
    """The connection that is held, with what it was made for."""

    def __init__(self) -> None:
        self.connection: Connection | None = None
        self.made_for: tuple[str | None, int | None] = (None, None)
        self.parameters = 0
        self.cpus = 0.0  # free ones when it was made
        self.in_use = False
        self.say: Callable[[str], None] = print

    def close(self) -> None:
        if self.connection is not None:
            connection, self.connection = self.connection, None
            connection.close()


_holding: _Held | None = None


@contextlib.contextmanager
def one_connection() -> Iterator[None]:
    """Within this context, a closed pool leaves its connection open, and the next pool takes it if it can.

    The connection is closed when the context ends, and when a pool needs another cluster or more memory. It is not
    held any longer once a cluster has failed.
    """
    global _holding
    if _holding is not None:
        yield
        return
    _holding = _Held()
    try:
        yield
    finally:
        held, _holding = _holding, None
        held.close()


def connect(
    address: str | None,
    gpus: int | None,
    parameters: int,
    *,
    seconds: float,
    say: Callable[[str], None],
    waiting: Callable[[str], None],
) -> "Connection":
    """Returns a connection as `Connection` makes it, or the one that is held.

    Args:
        address: As of `Connection`.
        gpus: As of `Connection`.
        parameters: As of `Connection`.
        seconds: As of `Connection`.
        say: As of `Connection`.
        waiting: As of `Connection`.

    Raises:
        ClusterError: The cluster cannot be reached, or none can be started here.
    """
    from distes.pools.on_ray.connection import Connection

    say_start = progress(
        "Starting Ray on this machine ..." if address is None else f"Joining the Ray cluster at {address} ..."
    )
    held = _holding
    if held is None or held.in_use:
        say(say_start)
        return Connection(address, gpus, parameters, seconds=seconds, say=say, waiting=waiting)
    held.say = say
    suits = held.made_for == (address, gpus) and parameters <= held.parameters
    if held.connection is not None and not (suits and _is_free(held)):
        held.close()
    if held.connection is None:
        say(say_start)
        held.connection = Connection(
            address, gpus, parameters, seconds=seconds, say=lambda line: held.say(line), waiting=waiting
        )
        held.made_for, held.parameters, held.cpus = (address, gpus), parameters, _free_cpus()
    held.in_use = True
    return held.connection


def leave(connection: "Connection", first: Callable[[], None], *, well: bool) -> None:
    """Closes a pool's connection, unless it is held for the next pool.

    Args:
        connection: The connection.
        first: Ends the pool's workers.
        well: Whether the cluster is as it should be; otherwise the next pool makes a connection of its own.
    """
    from distes.pools.on_ray.cluster import HEAD_TIMEOUT
    from distes.pools.on_ray.thread import within

    held = _holding
    if held is None or held.connection is not connection:
        connection.close(first)
        return
    held.in_use = False
    if not well:
        held.connection = None
        connection.close(first)
        return
    try:
        within(HEAD_TIMEOUT, first)
    except Exception:  # such as a cluster that does not answer any more
        held.close()


def _free_cpus() -> float:
    import ray

    return float(ray.available_resources().get("CPU", 0))


def _is_free(held: _Held) -> bool:
    """Waits until the previous pool's workers have left; returns whether the cluster answers."""
    from distes.pools.on_ray.thread import within

    end = time.monotonic() + FREE_SECONDS
    try:
        while within(FREE_SECONDS, _free_cpus) < held.cpus and time.monotonic() < end:
            time.sleep(0.05)
    except (TimeoutError, ClusterError, RuntimeError, OSError):
        return False
    return True
