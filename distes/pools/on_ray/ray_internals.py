"""All uses of Ray's private interfaces, as of ray 2.60.

Each function says what it is for. `tests/test_internals.py` fails when a private part is gone, and says which.
"""

import atexit
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError

from distes.errors.messages import warning
from distes.errors.unsafe_exit import expect_crash_at_exit

worker: Any = ray._private.worker
services: Any = ray._private.services
constants: Any = ray._private.ray_constants
raylet: Any = ray._raylet


def redirect_messages(say: Callable[[str], None]) -> Callable[[], None]:
    """Passes the first line of Ray's own messages (a node died, a process was killed for its memory) to `say`, once.

    Ray prints them to the terminal, with the last forty lines of a dead node's log, and has no setting to change that.
    So the function that prints them is replaced.

    Returns:
        A function that undoes this, and also removes the exception hook that Ray's printing leaves behind.
    """
    before, said = worker.print_to_stdstream, set[str]()

    def say_first_line(data: dict[str, Any], ignore_prefix: bool) -> None:
        for message in data["lines"]:
            first = message.strip().partition("\n")[0].partition(" Possible reasons include")[0]
            if first not in said:
                said.add(first)
                say(warning(f"Ray: {first}"))

    def undo() -> None:
        worker.print_to_stdstream = before
        if sys.excepthook is worker.custom_excepthook:
            sys.excepthook = worker.normal_excepthook

    worker.print_to_stdstream = say_first_line
    return undo


def address_of_auto() -> str:
    """Returns what the address `auto` stands for: RAY_ADDRESS, or where this machine's cluster was last seen.

    Ray caches the answer, which may belong to an earlier cluster, so the cache is cleared.

    Raises:
        ConnectionError: There is no such cluster.
    """
    services.find_gcs_addresses.cache_clear()
    return str(services.get_ray_address_from_environment("auto", None))


def forget_token() -> None:
    """Makes Ray read again the token that it shows to a cluster. It caches that of the previous cluster."""
    raylet.AuthenticationTokenLoader.instance().reset_cache()


def forget_at_exit() -> None:
    """Unregisters Ray's shutdown at exit, which would wait for a node that does not answer."""
    atexit.unregister(worker.shutdown)


def abandon_threads() -> None:
    """Prepares for the end of Ray's threads after an interrupted start: some begin while their cluster ends.

    Their tracebacks are not printed, and this process does not wait for them at exit, where they would crash it.
    """
    expect_crash_at_exit()
    before = threading.excepthook

    def of_others(failure: threading.ExceptHookArgs) -> None:
        if failure.thread is None or not failure.thread.name.startswith("ray_"):
            before(failure)

    threading.excepthook = of_others


def loopback_arguments(folder: Path) -> dict[str, Any]:
    """Returns arguments of `ray.init` for a cluster that listens on loopback and has its files in a folder."""
    return {"_node_ip_address": "127.0.0.1", "_temp_dir": str(folder)}


@contextmanager
def isolated_start() -> Iterator[None]:
    """Within this context, a started cluster listens on loopback only and leaves this process's process group.

    Ray replaces a `_node_ip_address` on loopback by the address of a network card, so that a later `ray start` can
    join; everything then listens on that, or on all addresses. A constant decides this. An environment variable would
    set it permanently, and not only for this cluster. On macOS and Windows Ray itself stays on loopback.

    A batch system sends SIGTERM to the whole group, and `ray stop` to every node on the machine. The node would stop,
    this process would lose its connection to the object store, and Ray would end it before the run is saved. So the
    node ignores SIGTERM. It ends with this process, which handles the signal.
    """
    before, popen = constants.ENABLE_RAY_CLUSTER, services.ConsolePopen

    def in_own_group(command: Sequence[str], *args: Any, preexec_fn: Callable[[], None], **kwargs: Any) -> Any:
        def prepare_child() -> None:
            preexec_fn()
            if command[0].endswith("/raylet"):
                signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

        return popen(command, *args, preexec_fn=prepare_child, start_new_session=True, **kwargs)

    constants.ENABLE_RAY_CLUSTER = False
    if sys.platform == "linux":  # elsewhere Ray finds its processes by their group when this one is killed
        services.ConsolePopen = in_own_group
    try:
        yield
    finally:
        constants.ENABLE_RAY_CLUSTER, services.ConsolePopen = before, popen


def socket_of(node: str) -> str:
    """Returns the path of the socket of a node (its raylet) of this machine.

    Args:
        node: Identity of the node, in hexadecimal digits.
    """
    return next(str(entry["RayletSocketName"]) for entry in ray.nodes() if entry["NodeID"] == node)


def log_folder() -> Path | None:
    """Returns the folder with the logs of the node that this process is connected to; None if it is not connected."""
    node: Any = worker._global_node
    return None if node is None else Path(node.get_logs_dir_path())


def constructor_raised(error: RayError) -> bool:
    """Returns False if an actor died with its process or its node before it was ready; True for any other error."""
    return bool(getattr(error, "actor_init_failed", True))
