"""Closes environments, at the end of the process at the latest."""

import time
import warnings
import weakref
from typing import Any

from distes.errors import DistesNotice, DistesWarning, described

PATIENCE = 2.0  # seconds after which it is said that environments are being closed


class Opened:
    """Holds open environments; closes them on request, when it is garbage-collected, or when the process ends."""

    def __init__(self) -> None:
        """Holds nothing yet."""
        self._kept: list[Any] = []
        weakref.finalize(self, _close_all, self._kept)

    def keep(self, environment: Any) -> Any:
        """Adds an environment, and returns it."""
        self._kept.append(environment)
        return environment

    def release(self, environment: Any) -> None:
        """Removes an environment without closing it."""
        self._kept[:] = [kept for kept in self._kept if kept is not environment]

    def close(self, environment: Any) -> None:
        """Closes an environment, and removes it."""
        self.release(environment)
        _close(environment)

    def close_all(self) -> None:
        """Closes all environments, the last one first."""
        _close_all(self._kept)


def _close_all(kept: list[Any]) -> None:
    count, begun, said = len(kept), time.monotonic(), False
    while kept:
        _close(kept.pop())
        seconds = time.monotonic() - begun
        if kept and seconds > PATIENCE and not said:
            said = True
            warnings.warn(
                f"Environments are being closed, one after another: {count - len(kept)} of {count} took "
                f"{seconds:.0f} s.",
                DistesNotice,
                stacklevel=2,
            )


def _close(environment: Any) -> None:
    """Closes an environment; an error that this raises becomes a warning."""
    try:
        getattr(environment, "close", lambda: None)()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        warnings.warn(f"An environment that was closed raised {described(error)}.", DistesWarning, stacklevel=2)
