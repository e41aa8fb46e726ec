"""Runs calls of Ray that may never return in threads, with a limit of time."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

from distes.pools.on_ray.ray_internals import forget_at_exit

NOTICE_SECONDS = 20.0  # seconds until the user is told that Ray is still waited for
ABORT_SECONDS = 10.0  # seconds that an interrupted start may go on


class Thread:
    """A call in a thread that stays until it is told to end: Ray's processes end with the thread that started them."""

    def __init__(self, call: Callable[[], Any]) -> None:
        """Starts nothing yet: whoever is interrupted while the thread starts must have it already, to end it.

        Args:
            call: What to do.
        """
        self._answer: futures.Future[None] = futures.Future()
        self._told = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(call,), daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    @property
    def finished(self) -> bool:
        """Whether the call has returned, or raised."""
        return self._answer.done()

    def wait(self, seconds: float, say: Callable[[str], None], what: str) -> None:
        """Waits for the call, and says so if that takes long; raises what it raises.

        Raises:
            TimeoutError: It takes longer than these seconds.
        """
        if not self._has_finished_in(min(NOTICE_SECONDS, seconds)):
            say(f"{what}; it is given up after {seconds:.0f} seconds (--start_timeout).")
            if not self._has_finished_in(seconds - NOTICE_SECONDS):
                raise TimeoutError(f"no answer for {seconds:.0f} seconds")
        self._answer.result()

    def wait_briefly(self) -> None:
        """Gives an interrupted call a few seconds to return.

        If Ray's processes end while it is still connecting to them, Ray aborts this process (ray 2.60).
        """
        self._has_finished_in(ABORT_SECONDS)

    def end(self) -> None:
        """Ends the thread, and with it all that it has started. If it waits for Ray even then, it is left to itself."""
        self._told.set()
        if self._thread.ident is None:  # it was never started
            return
        self._thread.join(0 if not self.finished else 5)
        for _ in range(5):
            if not self._thread.is_alive():
                return
            for child in _children(self._thread):  # without them, Ray does not wait for much longer
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            self._thread.join(1)
        forget_at_exit()

    def _has_finished_in(self, seconds: float) -> bool:
        return not futures.wait([self._answer], min(max(0.0, seconds), threading.TIMEOUT_MAX)).not_done

    def _run(self, call: Callable[[], Any]) -> None:
        try:
            call()
            self._answer.set_result(None)
        except BaseException as error:
            self._answer.set_exception(error)
        self._told.wait()


def _children(thread: threading.Thread) -> list[int]:
    """Process numbers of those that a thread has started; none where there is no /proc to tell."""
    try:
        listed = Path(f"/proc/self/task/{thread.native_id}/children").read_text()
    except OSError:
        return []
    return [int(number) for number in listed.split()]


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Makes SIGTERM raise KeyboardInterrupt, as Ctrl-C does, unless it has a handler."""
    if threading.current_thread() is not threading.main_thread() or (
        signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    ):
        yield
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def within(seconds: float, call: Callable[[], Any]) -> Any:
    """Calls something in a thread, and returns or raises what it does.

    Raises:
        TimeoutError: It takes longer; the thread is left to itself.
    """
    answer: futures.Future[Any] = futures.Future()

    def wait() -> None:
        try:
            answer.set_result(call())
        except Exception as error:
            answer.set_exception(error)

    threading.Thread(target=wait, daemon=True).start()  # of no executor, which would be waited for at the end
    return answer.result(seconds)


def leave(close: Callable[[], None], seconds: float) -> None:
    """Closes the connection. On timeout, registers that Ray must not shut down at exit.

    Args:
        close: Does it.
        seconds: How long it may take.
    """
    try:
        within(seconds, close)
    except TimeoutError:
        forget_at_exit()
