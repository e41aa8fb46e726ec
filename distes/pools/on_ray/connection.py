"""This process's connection to a Ray cluster: how it is made and closed."""

import faulthandler
import logging
import os
import socket
from collections.abc import Callable

import ray

from distes.errors import ClusterError
from distes.pools.base import unheard
from distes.pools.on_ray import local, ray_internals
from distes.pools.on_ray.cluster import HEAD_TIMEOUT, last_line
from distes.pools.on_ray.environment import Environment, check_token, set_variables
from distes.pools.on_ray.thread import Thread, leave, terminable

# The HTTP/2 client preface with an empty SETTINGS frame (RFC 9113, section 3.4), since Ray speaks gRPC over HTTP/2.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
SETTINGS_FRAME = 4
GREETING_SECONDS = 5.0  # seconds within which a head must answer the preface


class Connection:
    """This process's connection to a cluster. Closing it leaves the process as it was before.

    Ray starts and joins in a thread, so that there is a time limit and Ray does not replace signal handlers.
    """

    def __init__(
        self,
        address: str | None,
        gpus: int | None,
        parameters: int = 0,
        *,
        seconds: float = 300.0,
        say: Callable[[str], None] = print,
        waiting: Callable[[str], None] = unheard,
    ) -> None:
        """Joins the cluster at the address, or starts one on this machine that listens on loopback only.

        Args:
            address: HOST:PORT of the cluster, or `auto`; None starts one on this machine.
            gpus: Number of GPUs of this machine, as torch counts them; None leaves it to Ray.
            parameters: Number of the policy's parameters; a cluster started here has memory for several sets of them.
            seconds: Seconds that Ray may take.
            say: Takes a line for the user, including Ray's own messages.
            waiting: Called repeatedly with a text that says what is being waited for.

        Raises:
            ClusterError: The cluster cannot be reached, or none can be started here. Nothing is left behind.
        """
        if ray.is_initialized():
            raise ClusterError(
                "This process is connected to a Ray cluster already, and Ray knows one at a time: call ray.shutdown(), "
                "or close the pool before."
            )
        self._environment, self._faults, self._waiting = Environment(), faulthandler.is_enabled(), waiting
        self._undo_redirection = ray_internals.redirect_messages(say)
        self._thread: Thread | None = None
        try:
            set_variables()
            with terminable():
                if address is None:
                    self._start(gpus, parameters, seconds, say)
                else:
                    self._join(address, seconds, say)
        except BaseException:
            self._environment.started()
            self.close()
            raise
        self._environment.started()

    def close(self, first: Callable[[], None] = lambda: None) -> None:
        """Leaves the cluster, and ends it if this process has started it.

        Args:
            first: Called before leaving, within the same time limit.
        """

        def shut_down() -> None:
            first()
            ray.shutdown()

        if self._thread is not None:
            if self._thread.finished:
                leave(shut_down, HEAD_TIMEOUT)
            self._thread.end()
            self._thread = None
        ray_internals.forget_token()
        self._environment.restore()
        self._undo_redirection()
        if not self._faults:
            faulthandler.disable()

    def _start(self, gpus: int | None, parameters: int, seconds: float, say: Callable[[str], None]) -> None:
        local.check_machine()
        where = local.folder(say)
        self._thread = Thread(lambda: local.start(where, gpus, parameters))
        try:
            self._thread.start()
            self._thread.wait(seconds, say, "Ray is still starting", lambda: self._waiting("starting Ray"))
        except KeyboardInterrupt:
            self._thread.wait_briefly()
            ray_internals.abandon_threads()
            raise
        except Exception as error:
            raise ClusterError(
                f"Ray could not start on this machine ({last_line(error).rstrip('.')}). Its logs lie in "
                f"{where / 'session_latest' / 'logs'}. To train in this process: --workers 0."
            ) from error

    def _join(self, address: str, seconds: float, say: Callable[[str], None]) -> None:
        try:
            # Ray itself would try for minutes
            _check_reachable(ray_internals.address_of_auto() if address == "auto" else address)
        except (OSError, RuntimeError, ValueError) as error:
            raise ClusterError(
                f"No Ray cluster answers at {address!r} ({last_line(error).rstrip('.')}). Start one with "
                "`ray start --head`, or leave --address away to run on this machine."
            ) from error
        check_token(say)
        ray_internals.forget_token()
        self._thread = Thread(lambda: ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False))
        try:
            self._thread.start()
            what = f"The Ray cluster at {address} is still waited for"
            self._thread.wait(seconds, say, what, lambda: self._waiting(f"joining the Ray cluster at {address}"))
        except KeyboardInterrupt:
            self._thread.wait_briefly()
            ray_internals.abandon_threads()
            raise
        except Exception as error:
            raise ClusterError(
                f"The Ray cluster at {address!r} does not let this process in ({last_line(error).rstrip('.')}). If it "
                "asks for a token, set RAY_AUTH_TOKEN to it (on the head: ray get-auth-token); and it must run ray "
                f"{ray.__version__}, as this process does."
            ) from error


def _check_reachable(address: str) -> None:
    """Connects to an address and checks that a Ray head answers there.

    Raises:
        OSError: Nothing listens at the address, or it is not a Ray head.
        ClusterError: The address is malformed.
    """
    host, colon, port = address.rpartition(":")
    if not (host and colon and port.isdigit() and int(port) < 2**16) or "/" in host:
        raise ClusterError(f"address must be HOST:PORT, as `ray start --head` prints it, or auto; got {address!r}.")
    with socket.create_connection((host.strip("[]"), int(port)), timeout=GREETING_SECONDS) as connection:
        if os.environ.get("RAY_USE_TLS", "0") not in ("0", "false"):
            return  # a TLS server would need another greeting
        connection.sendall(PREFACE)
        try:
            frame = connection.makefile("rb").read(9)
        except TimeoutError as error:
            raise TimeoutError(
                f"somebody listens there, and says nothing for {GREETING_SECONDS:.0f} seconds"
            ) from error
        if len(frame) < 9 or frame[3] != SETTINGS_FRAME:
            raise ConnectionError("what listens there is no head of a Ray cluster")
