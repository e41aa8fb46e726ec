"""Errors at any line: a call is watched, and interrupted where it reaches one."""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

Place = tuple[str, int]  # a file and a line


class Lines:
    """Runs a call, and counts how often it reaches each line of some files.

    Raises an error, if there is one, at the given visit to a line.
    """

    def __init__(
        self,
        watched: tuple[str, ...],
        place: Place | None = None,
        visit: int = 0,
        error: BaseException | None = None,
    ) -> None:
        self.visits: dict[Place, int] = {}
        self._watched, self._place, self._visit, self._error = watched, place, visit, error

    def run(self, call: Callable[[], object]) -> None:
        before = sys.gettrace()
        sys.settrace(self._enter)
        try:
            call()
        finally:
            sys.settrace(before)

    def _enter(self, frame: FrameType, event: str, argument: Any) -> Any:
        return self._line if frame.f_code.co_filename.startswith(self._watched) else None

    def _line(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line":
            place = frame.f_code.co_filename, frame.f_lineno
            count = self.visits[place] = self.visits.get(place, 0) + 1
            if place == self._place and count == self._visit:
                assert self._error is not None
                raise self._error
        return self._line
