"""The Ray node of the driver. It may die or freeze like any other, but Ray does not raise an error then."""

import socket
from collections.abc import Callable
from typing import Any

import ray

from distes.errors import ClusterError
from distes.pools.on_ray.cluster import HEAD_TIMEOUT
from distes.pools.on_ray.ray_internals import socket_of
from distes.pools.on_ray.thread import within


class DriverNode:
    """The Ray node (its raylet) that this process is connected to. Ray ends the process if it loses the node.

    If the node has died, Ray ends this process without a message at the next access to the object store. If it is
    frozen, most calls of Ray never return. So the node is checked before such calls, and they are made in a thread.
    """

    def __init__(self, local: bool) -> None:
        """Looks up the node's identity and its socket.

        Args:
            local: Whether this process has started the cluster.
        """
        self._advice = "The state is saved: " + ("" if local else "start a cluster, and ") + "go on with --resume."
        self._name = ray.get_runtime_context().get_node_id()
        self._socket = socket_of(self._name)

    def require(self, ask_head: bool = False) -> None:
        """Checks that the node's socket accepts connections; a frozen node's socket still does.

        Args:
            ask_head: Whether to ask the cluster's head as well whether it considers the node dead.

        Raises:
            ClusterError: The node is dead.
        """
        if not self._listens() or (ask_head and self._is_given_up()):
            raise ClusterError(f"This process's own node of the Ray cluster has died. {self._advice}")

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
        except TimeoutError:  # the head does not answer; `Watch` handles that
            return False
        return not any(node["NodeID"] == self._name and node["Alive"] for node in nodes)

    def put(self, value: Any, seconds: float = HEAD_TIMEOUT) -> Any:
        """Calls `ray.put` with a limit of `seconds`.

        Raises:
            ClusterError: The node is dead, or does not answer in time.
        """
        return self._ask(lambda: ray.put(value), seconds)

    def get(self, reference: Any, seconds: float = HEAD_TIMEOUT) -> Any:
        """Calls `ray.get` with a limit of `seconds`.

        Raises:
            ClusterError: The node is dead, or does not answer in time.
        """
        return self._ask(lambda: ray.get(reference), seconds)

    def _ask(self, call: Callable[[], Any], seconds: float) -> Any:
        self.require()
        try:
            return within(seconds, call)
        except TimeoutError as error:
            raise ClusterError(
                f"This process's own node of the Ray cluster has not answered for {seconds:.0f} seconds. {self._advice}"
            ) from error
