"""Functions of the user that see each generation and may end the run."""

from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import NDArray

from distes.errors import ConfigurationError
from distes.runs.monitors.base import Metrics

# A generation's metrics by name, and fitness_N2, (N, 2); returns None, or why the run should end.
Callback = Callable[[dict[str, float | int | str], NDArray[Any]], str | None]


class Callbacks:
    """Calls functions after each generation. They cannot change the run, except by ending it.

    Attributes:
        reason: Why the run should end, as one of them said; None to go on.
    """

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        """Calls none of them yet.

        Args:
            callbacks: The functions, called in this order.

        Raises:
            ConfigurationError: One of them cannot be called.
        """
        for callback in callbacks:
            if not callable(callback):
                raise ConfigurationError(
                    "callbacks must be functions of a generation's metrics and its fitness_N2; got an instance of "
                    f"{type(callback).__name__}."
                )
        self._callbacks = list(callbacks)
        self.reason: str | None = None

    def call(self, metrics: Metrics, fitness_N2: NDArray[Any]) -> None:
        """Passes one generation to all functions; the first reason that one returns is kept.

        Args:
            metrics: The generation's metrics by name; each function gets a copy.
            fitness_N2: The fitness of each pair's two members, (N, 2); they get a copy.

        Raises:
            ConfigurationError: A function returned something else than None or a text.
            Exception: What a function raises.
        """
        for callback in self._callbacks:
            reason = callback(dict(metrics), fitness_N2.copy())
            if reason is not None and not isinstance(reason, str):
                name = getattr(callback, "__qualname__", type(callback).__name__)
                raise ConfigurationError(
                    f"The callback {name} must return None to go on, or a text that says why the run should end; got "
                    f"{reason!r}."
                )
            if self.reason is None:
                self.reason = reason
