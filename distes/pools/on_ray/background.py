"""Connects to Ray in the background, while members are already evaluated in this process.

This module does not import Ray before `BackgroundStart` does.
"""

import signal
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from distes.pools.base import unheard
from distes.pools.on_ray.environment import set_variables
from distes.pools.on_ray.held import connect, leave

if TYPE_CHECKING:
    from distes.pools.on_ray.connection import Connection

ALARM_SECONDS = 3.0  # that the handler of Ray's core sets
GIVE_UP_SECONDS = 10.0  # seconds that an unwanted start may still take, see `Thread.wait_briefly`


class BackgroundStart:
    """A start of Ray on this machine, in a thread.

    Ray's C++ core replaces the handler of SIGTERM while it connects. Its handler calls the one before, so the signal is
    heard, but it also sets an alarm that aborts this process after 3 seconds. So the main thread calls `attend` again
    and again, which undoes both.
    """

    def __init__(self, gpus: int | None, parameters: int, *, seconds: float, say: Callable[[str], None]) -> None:
        """Starts Ray in a thread, and returns at once.

        Args:
            gpus: As of `Connection`.
            parameters: Number of the policy's parameters.
            seconds: Seconds that Ray may take.
            say: Takes a line for the user; called in a thread.
        """
        set_variables()
        self._made: Connection | None = None
        self._error: BaseException | None = None
        self._done, self._unwanted = threading.Event(), threading.Event()
        self._lock = threading.Lock()  # held while it is decided who closes the connection
        self._attended = False  # whether the handler has been set back
        self._timer = signal.getitimer(signal.ITIMER_REAL)

        def work() -> None:
            try:
                self._made = connect(None, gpus, parameters, seconds=seconds, say=say, waiting=unheard)
            except BaseException as error:
                self._error = error
            with self._lock:
                self._done.set()
                left_alone = self._unwanted.is_set()
            if left_alone and self._made is not None:
                leave(self._made, lambda: None, well=True)

        self._thread = threading.Thread(target=work, name="distes: starting Ray", daemon=True)
        self._thread.start()

    @property
    def finished(self) -> bool:
        """Whether Ray has started, or could not."""
        return self._done.is_set()

    def attend(self, stops: bool) -> None:
        """Sets the handler of SIGTERM back once Ray has started, and the alarm as soon as the run is to stop.

        Args:
            stops: Whether a signal has asked the run to stop.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        remaining, interval = signal.getitimer(signal.ITIMER_REAL)
        if stops and 0 < remaining <= ALARM_SECONDS and not interval:
            signal.setitimer(signal.ITIMER_REAL, *self._timer)
        if self.finished and not self._attended:
            self._attended = True
            handler = signal.getsignal(signal.SIGTERM)  # Python's own view, which Ray's core does not change
            if handler is not None:
                signal.signal(signal.SIGTERM, handler)

    def connection(self) -> "Connection":
        """Returns the connection; to be called once the start is finished.

        Raises:
            ClusterError: Ray could not start.
            BaseException: Any other error of the start.
        """
        self._thread.join()
        self.attend(stops=False)
        if self._error is not None:
            raise self._error
        assert self._made is not None
        made, self._made = self._made, None
        return made

    def give_up(self) -> None:
        """Ends Ray, or has the thread end it once it has started: before, that would abort this process."""
        self.attend(stops=True)
        self._done.wait(GIVE_UP_SECONDS)
        with self._lock:
            if not self.finished:
                self._unwanted.set()
                return
        self._thread.join()
        self.attend(stops=True)
        if self._made is not None:
            made, self._made = self._made, None
            leave(made, lambda: None, well=True)
