"""Ctrl-C, SIGTERM, a closed terminal: the first asks a run to end with its state saved, the second ends it at once."""

import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

from distes.terminal import complete_streams, flush_streams, tell

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
INTERRUPTED = 130  # the exit code
BEFORE_TRAINING = "Interrupted before training began.\n"


class StopSignals:
    """Listens while its `with` block runs; elsewhere, and in other threads than the main one, it never hears any.

    A block may lie within another. The inner one knows what the outer one has heard, and the reverse.
    """

    def __init__(self, *, raises: bool = False) -> None:
        """Hears nothing yet.

        Args:
            raises: Whether the first signal raises KeyboardInterrupt, where nothing is to be saved yet. Once an inner
                block has begun, it does so no longer.
        """
        self._raises, self._requested = raises, False
        self._before: dict[signal.Signals, Any] = {}
        self._outer: StopSignals | None = None
        self.exit_code = INTERRUPTED  # of a process that a second signal ends

    def requested(self) -> bool:
        """Whether somebody asked to stop."""
        return self._requested

    def __enter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            return self
        outer = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
        if isinstance(outer, StopSignals):
            self._outer, self._requested, outer._raises = outer, outer._requested, False
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
        if self._raises:
            raise KeyboardInterrupt


def is_ctrl_c() -> bool:
    """Whether a KeyboardInterrupt that was caught can be Ctrl-C, and not raised by somebody's code.

    Python raises it in the main thread alone, and only as long as nobody else listens to the signal.
    """
    main = threading.current_thread() is threading.main_thread()
    return main and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def program(main: Callable[[], int]) -> int:
    """Runs a program's main function so that its exit code holds in every way to end.

    A signal before training gives 130, also while `main` still imports; once `main` has returned, signals change
    nothing: the second ends the process at once, with the same code. Streams that are closed or full are survived.

    Args:
        main: Returns the exit code.
    """
    complete_streams()
    signals = StopSignals(raises=True)
    signals.__enter__()  # until the process ends
    try:
        code = main()
    except KeyboardInterrupt:
        tell(BEFORE_TRAINING, sys.stderr)
        code = INTERRUPTED
    signals.exit_code, signals._raises = code, False
    flush_streams()
    return code
