"""Ray clusters: joining one or starting one here, what it has, and whether it still answers."""

import atexit
import contextlib
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import ray
from ray.exceptions import RayError

from distes.errors import ClusterError
from distes.pools.ray_environment import prepare

OBJECT_STORE = 256 * 2**20  # bytes of an embedded cluster's object store; populations are small


def connect(address: str | None, gpus: int | None) -> None:
    """Joins the cluster at the address, or starts one on this machine that listens on loopback only.

    Args:
        address: Of the cluster, or None.
        gpus: Of this machine, as torch counts them; None leaves it to Ray.
    """
    prepare()
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address is None:
        ray.init(
            "local",
            include_dashboard=False,
            object_store_memory=OBJECT_STORE,
            num_gpus=gpus,
            _node_ip_address="127.0.0.1",
            **quiet,
        )
        return
    there = False
    try:
        if address != "auto":
            _knock(address)  # Ray itself would wait for minutes
            there = True
        ray.init(address=address, **quiet)
    except (ConnectionError, RayError, RuntimeError, ValueError, OSError) as error:
        if there:
            raise ClusterError(
                f"The Ray cluster at {address!r} does not let this process in ({last_line(error).rstrip('.')}). If it "
                "asks for a token, set RAY_AUTH_TOKEN to it (on the head: ray get-auth-token); and it must run ray "
                f"{ray.__version__}, as this process does."
            ) from error
        raise ClusterError(
            f"No Ray cluster answers at {address!r} ({last_line(error).rstrip('.')}). Start one with "
            "`ray start --head`, or leave --address away to run on this machine."
        ) from error


def _knock(address: str) -> None:
    """Connects and hangs up.

    Raises:
        OSError: Nobody listens there.
        ClusterError: It is no address.
    """
    host, colon, port = address.rpartition(":")
    if not (host and colon and port.isdigit() and int(port) < 2**16) or "/" in host:
        raise ClusterError(f"address must be HOST:PORT, as `ray start --head` prints it, or auto; got {address!r}.")
    with socket.create_connection((host.strip("[]"), int(port)), timeout=5):
        pass


def last_line(error: BaseException) -> str:
    """Of what an error says, or of its cause: what matters of a worker's traceback."""
    cause = getattr(error, "cause", None)
    lines = [line.strip() for line in str(cause or error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def hear(say: Callable[[str], None]) -> None:
    """Has Ray's own messages (a node died, a process was killed for its memory) said in a line, each of them once.

    Ray prints them with the last forty lines of a dead node's log, into whatever is on the terminal, and has no setting
    for it; so the function that it prints them with is replaced, where it is found.
    """
    private: Any = ray._private.worker
    said = set[str]()

    def say_first_line(data: dict[str, Any], ignore_prefix: bool) -> None:
        for message in data["lines"]:
            first = message.strip().partition("\n")[0].partition(" Possible reasons include")[0]
            if first not in said:
                said.add(first)
                say(f"Ray: {first}")

    if hasattr(private, "print_to_stdstream"):
        private.print_to_stdstream = say_first_line


def inventory() -> str:
    """What the cluster has, part of a sentence."""
    nodes = [node for node in ray.nodes() if node["Alive"]]
    total, free = ray.cluster_resources(), ray.available_resources()
    parts = [f"{len(nodes)} {'node' if len(nodes) == 1 else 'nodes'}"]
    for name in ("CPU", "GPU"):
        if total.get(name):
            parts.append(f"{total[name]:g} {name}s, {free.get(name, 0):g} of them free")
    return ", ".join(parts)


def head_answers() -> bool:
    """Whether the cluster's head accepts a connection."""
    host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=5):
            return True
    except OSError:
        return False


class OwnNode:
    """The Ray node (its raylet) that this process is connected to, and without which Ray does not let it live.

    Where the node has died, Ray ends this process without a word at the next touch of the object store; where it is
    frozen, most calls of Ray wait for ever. So it is asked before, and what may wait does so in a thread.
    """

    def __init__(self) -> None:
        """Looks up its name and its socket."""
        self._name = ray.get_runtime_context().get_node_id()
        self._socket = next(str(node["RayletSocketName"]) for node in ray.nodes() if node["NodeID"] == self._name)

    def require(self, ask_head: bool = False) -> None:
        """Asks whether anybody listens at its socket; where it is frozen, somebody still does.

        Args:
            ask_head: Also whether the cluster's head has given it up.

        Raises:
            ClusterError: It is dead.
        """
        if not self._listens() or (ask_head and self._is_given_up()):
            raise ClusterError(
                "This process's own node of the Ray cluster has died. The state is saved: start a cluster, and go on "
                "with --resume."
            )

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as knock:
            knock.settimeout(5)
            try:
                knock.connect(self._socket)
            except OSError:
                return False
        return True

    def _is_given_up(self) -> bool:
        try:
            nodes = within(5, ray.nodes)
        except TimeoutError:  # the head does not answer, which is noticed elsewhere
            return False
        return not any(node["NodeID"] == self._name and node["Alive"] for node in nodes)

    def put(self, value: Any, seconds: float) -> Any:
        """`ray.put`, if the node lives and takes no longer than so many seconds.

        Raises:
            ClusterError: It does not.
        """
        self.require()
        try:
            return within(seconds, lambda: ray.put(value))
        except TimeoutError as error:
            raise ClusterError(
                f"This process's own node of the Ray cluster has not answered for {seconds:.0f} seconds. The state is "
                "saved: start a cluster, and go on with --resume."
            ) from error

    def leave(self, close: Callable[[], None], seconds: float) -> None:
        """Closes the connection; if that takes longer, the process will end without it, and without what Ray does then.

        Args:
            close: Does it.
            seconds: How long it may take.
        """
        code = 0 if sys.exc_info()[0] is None else 2
        try:
            within(seconds, close)
        except TimeoutError:
            atexit.register(_end, code)  # comes before what Ray has registered


def within(seconds: float, call: Callable[[], Any]) -> Any:
    """Calls something in a thread, and returns or raises what it does.

    Raises:
        TimeoutError: It takes longer; the thread is left to itself.
    """
    answer: Future[Any] = Future()

    def wait() -> None:
        try:
            answer.set_result(call())
        except Exception as error:
            answer.set_exception(error)

    threading.Thread(target=wait, daemon=True).start()  # of no executor, which would be waited for at the end
    return answer.result(seconds)


def _end(code: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(code)
