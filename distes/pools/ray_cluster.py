"""Ray clusters: joining one or starting one here, what it has, and whether it still answers."""

import logging
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.exceptions import RayError

from distes.errors import ClusterError
from distes.pools.ray_environment import prepare

EVERY = 10.0  # seconds between looks at the head
SILENT = 25.0  # seconds for which it may be silent; after 60, Ray ends this process by itself
OBJECT_STORE = 256 * 2**20  # bytes of an embedded cluster's object store,
SETS = 6  # and float32 numbers for each parameter: this population's, the last one's, and what an optimiser remembers


@contextmanager
def _signals_stay() -> Iterator[None]:
    """Keeps Ray from listening to SIGTERM in place of whoever does (ray 2.60): it would end this process with 15."""
    private: Any = ray._private.utils
    before = private.set_sigterm_handler
    private.set_sigterm_handler = lambda handler: None
    try:
        yield
    finally:
        private.set_sigterm_handler = before


@_signals_stay()
def connect(address: str | None, gpus: int | None, parameters: int = 0) -> None:
    """Joins the cluster at the address, or starts one on this machine that listens on loopback only.

    Args:
        address: Of the cluster, or None.
        gpus: Of this machine, as torch counts them; None leaves it to Ray.
        parameters: Of the policy; there is room for several sets of them.
    """
    prepare()
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address is None:
        with _on_loopback():
            ray.init(
                "local",
                include_dashboard=False,
                object_store_memory=OBJECT_STORE + SETS * 4 * parameters,
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


@contextmanager
def _on_loopback() -> Iterator[None]:
    """Has Ray keep to 127.0.0.1, as it does by itself on macOS and Windows.

    Elsewhere it takes the address of a network card in place of a `_node_ip_address` on loopback (ray 2.60), so that a
    later `ray start` could join; then everything listens on that, or on all addresses. It looks at a constant of its
    own, which its environment variable sets for good, and not only for a cluster that is started here.
    """
    private: Any = ray._private.ray_constants
    before = private.ENABLE_RAY_CLUSTER
    private.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        private.ENABLE_RAY_CLUSTER = before


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


class Watch:
    """Looks now and then whether the cluster's head still answers.

    Attributes:
        answers: Whether it did the last time.
    """

    def __init__(self) -> None:
        """It has just answered."""
        self._looked = self._heard = time.monotonic()
        self.answers = True

    def look(self) -> bool:
        """Knocks, if it is time to; returns whether it has, and was heard.

        Raises:
            ClusterError: The head has been silent for too long.
        """
        now = time.monotonic()
        if now - self._looked < EVERY:
            return False
        if now - self._looked > 2 * EVERY:  # nobody has looked for a while, which is not the head's fault
            self._heard = now
        self._looked = now
        self.answers = _head_answers()
        if self.answers:
            self._heard = now
        elif now - self._heard > SILENT:
            raise ClusterError(
                f"The head of the Ray cluster has not answered for {SILENT:.0f} seconds. The state is saved: start "
                "a cluster, and go on with --resume."
            )
        return self.answers


def _head_answers() -> bool:
    """Whether the cluster's head accepts a connection."""
    host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=5):
            return True
    except OSError:
        return False
