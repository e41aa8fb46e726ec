"""Stop signals (Ctrl-C, SIGTERM, a closed terminal): the first ends a run with its state saved, the second at once."""

import atexit
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Literal, Self

from distes.errors.unsafe_exit import crash_expected
from distes.runs.terminal import complete_streams, flush_streams, tell

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
INTERRUPTED = 130  # the exit code
Handler = Callable[[int, FrameType | None], object] | int | None
BEFORE_TRAINING = "Interrupted before training began.\n"


class StopSignals:
    """Handles stop signals while its `with` block runs. In other threads than the main one it handles none.

    Blocks may be nested. A signal that one of them has received counts for the other, too.
    """

    def __init__(self, first: Literal["notes", "raises", "exits"] = "notes") -> None:
        """Handles nothing yet.

        Args:
            first: What the first signal does. `notes` sets `requested` only. `raises` also raises KeyboardInterrupt,
                for code that has nothing to save. `exits` also ends the process at once, for code that has nothing to
                clean up either; `clean_up_first` turns it into `raises`. A block in which another has begun only notes.
        """
        self._first, self._requested = first, False
        self._before: dict[signal.Signals, Handler] = {}
        self._outer: StopSignals | None = None
        self.exit_code = INTERRUPTED  # of a process that a second signal ends

    def requested(self) -> bool:
        """Whether a signal has asked the run to stop."""
        return self._requested

    def __enter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            return self
        outer = self._current()
        if outer is not None:
            self._outer, self._requested = outer, outer._requested
            if outer._first == "exits" and self._first == "raises":
                self._first = "exits"
            outer._first = "notes"
        for number in SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # which nohup sets
                self._before[number] = signal.signal(number, self._hear)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._outer is not None:
            self._outer._requested = self._requested
        for number, before in self._before.items():
            signal.signal(number, signal.SIG_DFL if before is None else before)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self._requested:
            os._exit(self.exit_code)  # the operating system ends whatever still runs
        self._requested = True
        if self._first == "exits":
            tell(BEFORE_TRAINING, sys.stderr)
            os._exit(self.exit_code)
        if self._first == "raises":
            raise KeyboardInterrupt

    @staticmethod
    def _current() -> "StopSignals | None":
        """The innermost block that handles signals now, or None."""
        listener = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
        return listener if isinstance(listener, StopSignals) else None


def program(main: Callable[[], int]) -> int:
    """Runs a program's main function and returns its exit code, whatever signals come and when.

    A signal before training gives 130. While `main` still imports, it ends the process at once, since an exception
    during the import of a C++ library would abort the process. Once `main` has returned, the first signal is ignored,
    and a second one ends the process at once with the same code. Streams that are closed or full cause no error.

    Args:
        main: The main function, which returns the exit code.
    """
    complete_streams()
    atexit.register(_ignore_signals)  # runs last; Python would restore the default handlers, which kill the process
    signals = StopSignals("exits")
    signals.__enter__()  # until the process ends
    try:
        code = main()
    except KeyboardInterrupt:
        tell(BEFORE_TRAINING, sys.stderr)
        code = INTERRUPTED
    signals.exit_code, signals._first = code, "notes"
    flush_streams()
    if crash_expected():
        os._exit(code)
    return code


def clean_up_first() -> None:
    """From now on the first signal raises KeyboardInterrupt in a program, too, since there is something to clean up."""
    current = StopSignals._current()
    if current is not None and current._first == "exits":
        current._first = "raises"


def _ignore_signals() -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
