"""Monitors: what a person sees of a run. They watch; they never decide, compute or stop anything."""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from distes.files import reason

Metrics = Mapping[str, float | int | str]


class Monitor(ABC):
    """Is told of every generation."""

    @abstractmethod
    def record(self, metrics: Metrics, fitness_N2: NDArray[Any]) -> None:
        """Takes note of one generation.

        Args:
            metrics: The generation's metrics by name, such as `fitness/mean`.
            fitness_N2: The fitness of each pair's two members.

        Raises:
            OSError: It could not be written; see `Monitors`.
        """

    @abstractmethod
    def close(self) -> None:
        """Finishes; called once, also after an error or Ctrl-C."""


class Monitors(Monitor):
    """Several monitors as one, none of which can end the training.

    A full disk or a closed pipe must not cost a run of days. So an OSError of one monitor is said once, as a sentence,
    and counted in `failures`; the monitor is tried again in the next generation, and the others go on. Any other
    exception is a bug and rises. `say` itself may fail (the terminal is gone): then there is nobody left to tell.
    """

    def __init__(self, monitors: Sequence[Monitor], say: Callable[[str], None]) -> None:
        """Puts them together.

        Args:
            monitors: Called in this order.
            say: Shows a sentence to the user, as `Console.say` does.
        """
        self.monitors = tuple(monitors)
        self.failures = 0
        self._say = say
        self._reported: set[Monitor] = set()

    def record(self, metrics: Metrics, fitness_N2: NDArray[Any]) -> None:
        """Tells all of them."""
        for monitor in self.monitors:
            self._attempt(monitor, lambda monitor=monitor: monitor.record(metrics, fitness_N2))  # type: ignore[misc]

    def close(self) -> None:
        """Closes all of them."""
        for monitor in self.monitors:
            self._attempt(monitor, monitor.close)

    def _attempt(self, monitor: Monitor, action: Callable[[], None]) -> None:
        try:
            action()
        except OSError as error:
            self.failures += 1
            if monitor not in self._reported:
                self._reported.add(monitor)
                self._complain(f"{type(monitor).__name__} cannot write: {reason(error)}. Training goes on without it.")

    def _complain(self, sentence: str) -> None:
        with contextlib.suppress(OSError):
            self._say(sentence)
