"""Records metrics in a file, one line of strict JSON per generation."""

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distes.runs.atomic_files import write_all
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
        line = json.dumps({key: _plain(value) for key, value in metrics.items()}, allow_nan=False) + "\n"
        size = os.fstat(self._descriptor).st_size
        try:
            write_all(self._descriptor, line.encode())
        except OSError:
            os.ftruncate(self._descriptor, size)
            raise

    def close(self) -> None:
        """Syncs the file to the disk and closes it."""
        try:
            os.fsync(self._descriptor)
        finally:
            os.close(self._descriptor)


def _plain(value: float | int | str) -> float | int | str:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
