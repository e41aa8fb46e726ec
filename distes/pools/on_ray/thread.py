"""Runs calls of Ray that may never return in threads, with a time limit."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

from distes.pools.on_ray.ray_internals import forget_at_exit

TURN_SECONDS = 0.1  # seconds between two calls of `turn` during a wait
NOTICE_SECONDS = 20.0  # seconds after which the user is told about the wait for Ray
ABORT_SECONDS = 10.0  # seconds that an interrupted start may still take


class Thread:
    """A call in a thread that lives until `end`, since Ray's processes end with the thread that started them."""

    def __init__(self, call: Callable[[], Any]) -> None:
        """Makes the thread but does not start it, so that a caller can call `end` if `start` is interrupted.

        Args:
            call: The function to call in the thread.
        """
        self._answer: futures.Future[None] = futures.Future()
        self._told = threading.Event()
        self._timer = (0.0, 0.0)
        self._thread = threading.Thread(target=self._run, args=(call,), daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._timer = signal.getitimer(signal.ITIMER_REAL)
        self._thread.start()

    @property
    def finished(self) -> bool:
        """Whether the call has returned or raised."""
        return self._answer.done()

    def wait(
        self, seconds: float, say: Callable[[str], None], what: str, turn: Callable[[], None] = lambda: None
    ) -> None:
        """Waits for the call and raises what it raises. A long wait is announced to the user.

        Args:
            seconds: Seconds to wait.
            say: Takes a line for the user.
            what: Beginning of that line.
            turn: Called again and again during the wait.

        Raises:
            TimeoutError: The call takes longer than `seconds`.
        """
        if not self._has_finished_in(min(NOTICE_SECONDS, seconds), turn):
            say(f"{what}; it is given up after {seconds:.0f} seconds (--start_timeout).")
            if not self._has_finished_in(seconds - NOTICE_SECONDS, turn):
                raise TimeoutError(f"no answer for {seconds:.0f} seconds")
        self._answer.result()

    def wait_briefly(self) -> None:
        """Gives an interrupted call a few seconds to return.

        If Ray's processes end while Ray is still connecting to them, it aborts this process (ray 2.60). If the
        interrupt was a SIGTERM that Ray's own handler received first, an alarm set by that handler would abort this
        process after 3 seconds. The timer is set back to what it was before.
        """
        signal.setitimer(signal.ITIMER_REAL, *self._timer)
        self._has_finished_in(ABORT_SECONDS)

    def end(self) -> None:
        """Ends the thread and all processes that it has started. A thread that still waits for Ray is abandoned."""
        self._told.set()
        if self._thread.ident is None:  # it was never started
            return
        self._thread.join(0 if not self.finished else 5)
        for _ in range(5):
            if not self._thread.is_alive():
                return
            for child in _children(self._thread):  # without them, Ray soon stops waiting
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            self._thread.join(1)
        forget_at_exit()

    def _has_finished_in(self, seconds: float, turn: Callable[[], None] = lambda: None) -> bool:
        end = time.monotonic() + seconds
        while futures.wait([self._answer], min(max(0.0, end - time.monotonic()), TURN_SECONDS)).not_done:
            if time.monotonic() >= end:
                return False
            turn()
        return True

    def _run(self, call: Callable[[], Any]) -> None:
        try:
            call()
            self._answer.set_result(None)
        except BaseException as error:
            self._answer.set_exception(error)
        self._told.wait()


def _children(thread: threading.Thread) -> list[int]:
    """Numbers of the processes that a thread has started; empty on systems without /proc."""
    try:
        listed = Path(f"/proc/self/task/{thread.native_id}/children").read_text()
    except OSError:
        return []
    return [int(number) for number in listed.split()]


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Makes SIGTERM raise KeyboardInterrupt, as Ctrl-C does, unless it has a handler already.

    Ray's C++ core replaces the handler while it connects, also in another thread. On exit the handler is as before.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    if before is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        if before is not None:  # None: a handler in C, which Python cannot restore
            signal.signal(signal.SIGTERM, before)


def within(seconds: float, call: Callable[[], Any]) -> Any:
    """Makes a call in a thread, and returns or raises what it does.

    Args:
        seconds: Seconds that the call may take.
        call: The function to call.

    Raises:
        TimeoutError: The call takes longer. Its thread is abandoned.
    """
    answer: futures.Future[Any] = futures.Future()

    def wait() -> None:
        try:
            answer.set_result(call())
        except Exception as error:
            answer.set_exception(error)

    threading.Thread(target=wait, daemon=True).start()  # Python would wait for an executor's thread at exit
    return answer.result(seconds)


def leave(close: Callable[[], None], seconds: float) -> None:
    """Closes the connection. On timeout, registers that Ray must not shut down at exit.

    Args:
        close: Closes the connection.
        seconds: Seconds that it may take.
    """
    try:
        within(seconds, close)
    except TimeoutError:
        forget_at_exit()
