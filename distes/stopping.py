"""Ctrl-C and SIGTERM: the first asks the run to end with its state saved, the second ends it at once."""

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignals:
    """Listens while its `with` block runs; elsewhere, and in other threads than the main one, it never hears any."""

    def __init__(self) -> None:
        """Hears nothing yet."""
        self._requested = False
        self._before: dict[signal.Signals, Any] = {}

    def requested(self) -> bool:
        """Whether somebody asked to stop."""
        return self._requested

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._hear) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self._requested:
            os._exit(130)  # whatever still runs is left to the operating system
        self._requested = True
