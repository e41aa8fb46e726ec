"""Where a run says how it goes: in the terminal, below a notebook's cell, or nowhere."""

import logging
import sys
from collections.abc import Sequence
from typing import Any, Literal, Protocol

from numpy.typing import NDArray

from distes.errors.messages import Level, level_of
from distes.runs.monitors.base import Metrics, Monitor
from distes.runs.monitors.console import Console

Show = Literal["progress", "nothing"]
LOGGED = {Level.PROGRESS: logging.DEBUG, Level.NOTE: logging.INFO, Level.WARNING: logging.WARNING}


class Screen(Protocol):
    """What shows a run's progress, its messages and small tables, as `Console` does."""

    def record(self, metrics: Metrics, fitness_N2: NDArray[Any]) -> None:
        """Shows a generation."""

    def say(self, line: str) -> None:
        """Shows a message."""

    def waiting(self, text: str) -> None:
        """Shows what is being waited for."""

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Shows a small table."""

    def close(self) -> None:
        """Leaves the last generation on the screen."""


class Silent(Monitor):
    """Shows nothing. Messages go to the logger `distes`: progress as DEBUG, notes as INFO, warnings as WARNING."""

    def record(self, metrics: Metrics, fitness_N2: NDArray[Any]) -> None:
        """Does nothing."""

    def say(self, line: str) -> None:
        """Logs a message."""
        logging.getLogger("distes").log(LOGGED[level_of(line)], "%s", line)

    def waiting(self, text: str) -> None:
        """Does nothing."""

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Logs a row at a time."""
        for row in rows:
            self.say(", ".join(f"{column} {value}" for column, value in zip(columns, row, strict=True)))

    def close(self) -> None:
        """Does nothing."""


def screen_for(show: Show, **arguments: Any) -> Screen:
    """Returns what shows a run's progress here.

    Args:
        show: Whether to show anything.
        arguments: Those of `Console`.
    """
    if show == "nothing":
        return Silent()
    if in_notebook():
        from distes.runs.monitors.notebook import Notebook

        return Notebook(**arguments)
    return Console(**arguments)


def in_notebook() -> bool:
    """Whether this program runs in a notebook's kernel; imports nothing."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return any(kind.__name__ == "ZMQInteractiveShell" for kind in type(shell).__mro__)
