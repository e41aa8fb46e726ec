"""Records metrics in a file, one line of strict JSON per generation."""

import os
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from distes.runs.atomic_files import append
from distes.runs.metrics_file import encode
from distes.runs.monitors.base import Metrics, Monitor


class Jsonl(Monitor):
    """Appends one line per generation to a file, unbuffered, so that a killed process loses no line.

    Floats are written with enough digits to restore the same bits. JSON has no NaN and no infinity; they are written as
    the strings "NaN", "Infinity" and "-Infinity", which Python's `float` and JavaScript's `Number` accept.
    """

    def __init__(self, path: Path) -> None:
        """Opens the file for appending.

        Args:
            path: The file, usually `metrics.jsonl` of a run directory; created if it does not exist.

        Raises:
            OSError: The file cannot be opened for writing.
        """
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)

    def record(self, metrics: Metrics, fitness_N2: NDArray[Any]) -> None:
        """Writes one line, or nothing: on failure, such as a full disk, an incomplete line is removed.

        Args:
            metrics: The generation's metrics by name.
            fitness_N2: Not recorded.

        Raises:
            OSError: The line cannot be written.
        """
        del fitness_N2
        append(self._descriptor, encode(metrics))

    def close(self) -> None:
        """Syncs the file to the disk and closes it."""
        try:
            os.fsync(self._descriptor)
        finally:
            os.close(self._descriptor)
