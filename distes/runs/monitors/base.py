"""The interface of monitors, which show or record the metrics of a run and never influence it."""

import contextlib
import traceback
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from distes.errors import DistesWarning
from distes.runs.atomic_files import reason

Metrics = Mapping[str, float | int | str]


class Monitor(ABC):
    """Receives the metrics of every generation."""

    @abstractmethod
    def record(self, metrics: Metrics, fitness_N2: NDArray[Any]) -> None:
        """Shows or records one generation.

        Args:
            metrics: The generation's metrics by name, such as `fitness/mean`.
            fitness_N2: The fitness of each pair's two members.

        Raises:
            Exception: See `Monitors` for what becomes of it.
        """

    @abstractmethod
    def close(self) -> None:
        """Releases what the monitor holds; called once, also after an error or Ctrl-C."""


class Monitors(Monitor):
    """Several monitors as one, none of which can end the training.

    A full disk, a closed pipe or a bug in somebody's monitor must not cost a run of days. So whatever Exception a
    monitor raises is said once, as a sentence, and counted in `failures`, and the others go on. After an OSError the
    monitor is tried again in the next generation, since a disk may have room again; after any other it is only closed.
    `say` itself may fail (the terminal is gone): then there is nobody left to tell.
    """

    def __init__(self, monitors: Sequence[Monitor], say: Callable[[str], None] | None = None) -> None:
        """Puts them together.

        Args:
            monitors: Called in this order. The sequence may grow later.
            say: Shows a sentence to the user, as `Console.say` does; None for a `DistesWarning`.
        """
        self.monitors = monitors
        self.failures = 0
        self._say = _warn if say is None else say
        self._reported: list[Monitor] = []  # compared by identity: a monitor need not be hashable
        self._broken: list[Monitor] = []

    def record(self, metrics: Metrics, fitness_N2: NDArray[Any]) -> None:
        """Passes one generation to all monitors."""
        for monitor in self.monitors:
            if not _among(monitor, self._broken):
                self._attempt(monitor, lambda monitor=monitor: monitor.record(metrics, fitness_N2))  # type: ignore[misc]

    def close(self) -> None:
        """Closes all monitors."""
        for monitor in self.monitors:
            self._attempt(monitor, lambda monitor=monitor: monitor.close())  # type: ignore[misc]

    def _attempt(self, monitor: Monitor, action: Callable[[], None]) -> None:
        try:
            action()
        except OSError as error:
            self._failed(monitor, f"cannot write: {reason(error)}")
        except Exception as error:
            self._failed(monitor, f"raised {' '.join(f'{type(error).__name__}: {error}'.split())}{_place(error)}")
            self._broken.append(monitor)

    def _failed(self, monitor: Monitor, how: str) -> None:
        self.failures += 1
        if not _among(monitor, self._reported):
            self._reported.append(monitor)
            with contextlib.suppress(Exception):
                self._say(f"{type(monitor).__name__} {how}. Training goes on without it.")


def _among(monitor: Monitor, monitors: Sequence[Monitor]) -> bool:
    return any(monitor is one for one in monitors)


def _place(error: Exception) -> str:
    """Where an exception was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    return f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""


def _warn(sentence: str) -> None:
    warnings.warn(sentence, DistesWarning, stacklevel=2)
