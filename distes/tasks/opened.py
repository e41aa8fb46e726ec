"""Environments that are open: whatever is made is closed, at the end of the process at the latest."""

import warnings
import weakref
from typing import Any

from distes.errors import DistesWarning, described


class Opened:
    """Keeps environments, and closes them when it is told to, is collected itself, or the process ends."""

    def __init__(self) -> None:
        """Keeps nothing yet."""
        self._kept: list[Any] = []
        weakref.finalize(self, _close_all, self._kept)

    def keep(self, environment: Any) -> Any:
        """Takes an environment and returns it."""
        self._kept.append(environment)
        return environment

    def release(self, environment: Any) -> None:
        """Leaves it to somebody else to close it."""
        self._kept[:] = [kept for kept in self._kept if kept is not environment]

    def close(self, environment: Any) -> None:
        """Closes one of them."""
        self.release(environment)
        _close(environment)

    def close_all(self) -> None:
        """Closes all of them, the last first."""
        _close_all(self._kept)


def _close_all(kept: list[Any]) -> None:
    while kept:
        _close(kept.pop())


def _close(environment: Any) -> None:
    """What a simulator has to complain of when it is closed is said, and ends nothing."""
    try:
        getattr(environment, "close", lambda: None)()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        warnings.warn(f"An environment that was closed raised {described(error)}.", DistesWarning, stacklevel=2)
