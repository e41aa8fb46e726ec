"""The resources of a Ray cluster, and whether its head still answers."""

import socket
import time

import ray

from distes.errors import ClusterError

LOOK_SECONDS = 10.0  # seconds between checks of the head
LOCAL_LOOK_SECONDS = 2.0  # seconds between checks of a head that this process has started
HEAD_TIMEOUT = 25.0  # seconds for which the head may be silent; after 60, Ray itself ends this process


def last_line(error: BaseException) -> str:
    """Returns the last line of an error's cause, or of the error itself: the message below a worker's traceback."""
    cause = getattr(error, "cause", None)
    lines = [line.strip() for line in str(cause or error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def inventory() -> str:
    """Returns what the cluster has, as part of a sentence: `2 nodes, 8 CPUs, 6 of them free`."""
    nodes = [node for node in ray.nodes() if node["Alive"]]
    total, free = ray.cluster_resources(), ray.available_resources()
    parts = [f"{len(nodes)} {'node' if len(nodes) == 1 else 'nodes'}"]
    for name in ("CPU", "GPU"):
        if total.get(name):
            parts.append(f"{total[name]:g} {name}s, {free.get(name, 0):g} of them free")
    return ", ".join(parts)


def free_resources(on_gpus: bool) -> tuple[int, int]:
    """Returns the numbers of free CPUs, and of free GPUs if workers are to use GPUs, otherwise 0.

    Raises:
        ClusterError: Workers are to use GPUs, and none is free.
    """
    free = {name: int(ray.available_resources().get(name, 0)) for name in ("CPU", "GPU")}
    if on_gpus and not free["GPU"]:
        raise ClusterError("All GPUs of the cluster are in use: wait, add nodes, or set --device cpu.")
    return free["CPU"], free["GPU"] if on_gpus else 0


def too_few_workers(seconds: float, minimum: int, ready: int, count: int) -> str:
    """Returns the message for a run that has waited for workers too long.

    Args:
        seconds: Seconds that the run has waited.
        minimum: Number of workers that it needs.
        ready: Number of workers that are ready.
        count: Number of workers that were to be started.
    """
    return (
        f"For {seconds:.0f} seconds there were fewer than {minimum} workers ({ready} of {count}); the cluster has "
        f"{inventory()}. Add nodes, or ask for less (--workers, --min_workers), or wait for longer (--start_timeout)."
    )


class Watch:
    """Checks at intervals whether the cluster's head still answers.

    Attributes:
        answers: Whether the head answered the last check.
    """

    def __init__(self, local: bool) -> None:
        """Starts as if the head had just answered.

        Args:
            local: Whether the head is a child of this process. Such a head is never restarted, so a refused connection
                ends the run at once.
        """
        self._looked = self._heard = time.monotonic()
        self._local, self._every = local, LOCAL_LOOK_SECONDS if local else LOOK_SECONDS
        self.answers = True

    def look(self) -> bool:
        """Checks the head if the interval has passed; returns True if it checked and the head answered.

        Raises:
            ClusterError: The head is dead, or has been silent for too long.
        """
        now = time.monotonic()
        if now - self._looked < self._every:
            return False
        if now - self._looked > 2 * self._every:  # the checks were delayed, which is not the head's fault
            self._heard = now
        self._looked = now
        try:
            _check_reachable()
        except ConnectionRefusedError as error:
            self.answers = False
            if self._local:
                raise ClusterError(
                    "The head of the Ray cluster that this process has started, gcs_server, has died. The state is "
                    "saved: go on with --resume."
                ) from error
        except OSError:
            self.answers = False
        else:
            self.answers, self._heard = True, now
        if not self.answers and now - self._heard > HEAD_TIMEOUT:
            raise ClusterError(
                f"The head of the Ray cluster has not answered for {HEAD_TIMEOUT:.0f} seconds. The state is saved: "
                "start a cluster, and go on with --resume."
            )
        return self.answers


def _check_reachable() -> None:
    """Connects to the cluster's head.

    Raises:
        OSError: The head does not accept the connection.
    """
    host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
