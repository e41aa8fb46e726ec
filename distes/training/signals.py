"""Ctrl-C, SIGTERM, a closed terminal: the first asks a run to end with its state saved, the second ends it at once."""

import atexit
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Literal, Self

from distes.runs.terminal import complete_streams, flush_streams, tell

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
INTERRUPTED = 130  # the exit code
BEFORE_TRAINING = "Interrupted before training began.\n"


class StopSignals:
    """Listens while its `with` block runs; elsewhere, and in other threads than the main one, it never hears any.

    A block may lie within another. The inner one knows what the outer one has heard, and the reverse.
    """

    def __init__(self, first: Literal["notes", "raises", "exits"] = "notes") -> None:
        """Hears nothing yet.

        Args:
            first: What the first signal does beside being noted for `requested`. `raises` raises KeyboardInterrupt,
                where nothing has to be saved yet; `exits` ends the process at once, where there is not even anything to
                clean up, and lasts until `clean_up_first`. Once an inner block has begun, the outer one just notes.
        """
        self._first, self._requested = first, False
        self._before: dict[signal.Signals, Any] = {}
        self._outer: StopSignals | None = None
        self.exit_code = INTERRUPTED  # of a process that a second signal ends

    def requested(self) -> bool:
        """Whether somebody asked to stop."""
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
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # as nohup asks for
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
            os._exit(self.exit_code)  # whatever still runs is left to the operating system
        self._requested = True
        if self._first == "exits":
            tell(BEFORE_TRAINING, sys.stderr)
            os._exit(self.exit_code)
        if self._first == "raises":
            raise KeyboardInterrupt

    @staticmethod
    def _current() -> "StopSignals | None":
        """Whoever listens now."""
        listener = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
        return listener if isinstance(listener, StopSignals) else None


def program(main: Callable[[], int]) -> int:
    """Runs a program's main function so that its exit code holds in every way to end.

    A signal before training gives 130, also while `main` still imports: it then ends the process at once, since an
    exception that meets a library in C++ while it is loaded aborts it. Once `main` has returned, signals change
    nothing, save that a second one ends the process at once, with the same code. Streams that are closed or full are
    survived.

    Args:
        main: Returns the exit code.
    """
    complete_streams()
    atexit.register(_ignore_signals)  # comes last; Python would give them back to the operating system, which kills
    signals = StopSignals("exits")
    signals.__enter__()  # until the process ends
    try:
        code = main()
    except KeyboardInterrupt:
        tell(BEFORE_TRAINING, sys.stderr)
        code = INTERRUPTED
    signals.exit_code, signals._first = code, "notes"
    flush_streams()
    return code


def clean_up_first() -> None:
    """From now on there is something to clean up: in a program, too, the first signal raises KeyboardInterrupt."""
    current = StopSignals._current()
    if current is not None and current._first == "exits":
        current._first = "raises"


def _ignore_signals() -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
