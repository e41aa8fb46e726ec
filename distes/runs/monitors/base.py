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
            fitness_N2: The fitness of each pair's two members, (N, 2).

        Raises:
            Exception: Any; `Monitors` reports it and continues.
        """

    def film(self, gif: bytes, metrics: Metrics) -> None:
        """Shows or records a film of the centre; called now and then if the run makes films (`film_every`).

        By default it does nothing.

        Args:
            gif: An animated GIF.
            metrics: The `generation` whose centre it is and its `timesteps`; later ones may have been recorded already.

        Raises:
            Exception: Any; `Monitors` reports it and continues.
        """
        return

    def finish(self, result: Metrics) -> None:
        """Shows or records how a run ended; called once, before `close`, unless the run was interrupted.

        By default it does nothing.

        Args:
            result: The fields of `distes.training.budget.Result`, such as `eval_mean`, the mean return of the final
                centre.

        Raises:
            Exception: Any; `Monitors` reports it and continues.
        """
        return

    @abstractmethod
    def close(self) -> None:
        """Releases the monitor's resources; called once, also after an error or Ctrl-C."""


class Monitors(Monitor):
    """Combines several monitors, so that no failure of one can end the training.

    A full disk, a closed pipe or a bug in a user's monitor must not cost a run of days. An Exception of a monitor is
    therefore counted in `failures`, and each monitor's first one is reported in a sentence; other monitors continue.
    After an OSError the monitor is called again in the next generation, since the disk may have room again. After any
    other exception it is only closed. An error of `say` itself, as when the terminal is gone, is ignored.

    Attributes:
        monitors: The monitors, in the order in which they are called.
        failures: Number of exceptions that monitors have raised.
    """

    def __init__(self, monitors: Sequence[Monitor], say: Callable[[str], None] | None = None) -> None:
        """Combines the monitors; calls none of them.

        Args:
            monitors: The monitors, called in this order. The sequence may grow later.
            say: Shows a sentence to the user, as `Console.say` does; None for a `DistesWarning`.
        """
        self.monitors = monitors
        self.failures = 0
        self._say = _warn if say is None else say
        self._reported: list[Monitor] = []  # compared by identity: a monitor need not be hashable
        self._broken: list[Monitor] = []

    def record(self, metrics: Metrics, fitness_N2: NDArray[Any]) -> None:
        """Passes one generation to all monitors except broken ones."""
        for monitor in self.monitors:
            if not _among(monitor, self._broken):
                self._attempt(monitor, lambda monitor=monitor: monitor.record(metrics, fitness_N2))  # type: ignore[misc]

    def film(self, gif: bytes, metrics: Metrics) -> None:
        """Passes a film to all monitors except broken ones."""
        for monitor in self.monitors:
            if not _among(monitor, self._broken):
                self._attempt(monitor, lambda monitor=monitor: monitor.film(gif, metrics))  # type: ignore[misc]

    def finish(self, result: Metrics) -> None:
        """Passes the end of the run to all monitors except broken ones."""
        for monitor in self.monitors:
            if not _among(monitor, self._broken):
                self._attempt(monitor, lambda monitor=monitor: monitor.finish(result))  # type: ignore[misc]

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
    """Returns the file and line where an exception was raised, in brackets; empty without a traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    return f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""


def _warn(sentence: str) -> None:
    warnings.warn(sentence, DistesWarning, stacklevel=2)
