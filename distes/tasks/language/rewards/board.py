"""Memory that a process that runs rewards shares with its worker: which answer is rated since when, and the results.

A row costs a few writes to memory. The reader needs nothing from the process, which may have died meanwhile.

Axes: R rows of a batch, C numbers of a row: the reward and the scores.
"""

import mmap
import os
import tempfile
from typing import Any

ROWS = 1024  # of a batch, at most
TEXT = 8192  # bytes of the first failure's text
HEADER = 24 + TEXT


def new_file(columns: int) -> int:
    """Returns the descriptor of a new file without a name that holds a board.

    Args:
        columns: C.
    """
    if hasattr(os, "memfd_create"):
        descriptor: int = os.memfd_create("distes-rewards")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.truncate(descriptor, HEADER + 8 * ROWS * columns)
    return descriptor


class Board:
    """The memory, as one of both processes sees it.

    Attributes:
        start: One number, float64: when the current row was begun, by the monotonic clock.
        place: One number, int64: the current row; -1 before the first one.
        results: float64, (R * C,); NaN where a row failed or was not reached.
    """

    def __init__(self, descriptor: int) -> None:
        """Maps a file of `new_file`, whose descriptor may be closed then."""
        memory = memoryview(mmap.mmap(descriptor, 0))
        self.start, self.place = memory[0:8].cast("d"), memory[8:16].cast("q")
        self._length, self._text = memory[16:24].cast("q"), memory[24:HEADER]
        self.results: Any = memory[HEADER:].cast("d")

    @property
    def failure(self) -> str:
        """What happened at the first row of the batch that failed; empty if none did."""
        return bytes(self._text[: self._length[0]]).decode(errors="ignore")

    @failure.setter
    def failure(self, text: str) -> None:
        content = text.encode(errors="replace")[:TEXT]
        self._text[: len(content)] = content
        self._length[0] = len(content)
