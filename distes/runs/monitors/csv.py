"""Records metrics in a table of comma-separated values, one row per generation."""

import csv
import io
import os
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from distes.runs import atomic_files
from distes.runs.metrics_file import read_rows
from distes.runs.monitors.base import Metrics, Monitor


class Csv(Monitor):
    """Writes `metrics.csv`, which has a column for each metric of `metrics.jsonl`; a cell without a value is empty.

    A metric that appears later, as an evaluation may, becomes a further column, and the file is written anew.
    """

    def __init__(self, path: Path, history: Path) -> None:
        """Writes the generations that the run has recorded before.

        Args:
            path: The file.
            history: `metrics.jsonl` of the run, whose lines come first; it need not exist.

        Raises:
            OSError: A file cannot be read or written.
        """
        self._path = path
        self._rows = list[Metrics](read_rows(history, damaged=True))
        self._columns = list(dict.fromkeys(name for row in self._rows for name in row))
        self._write_anew()

    def record(self, metrics: Metrics, fitness_N2: NDArray[Any]) -> None:
        """Appends a row.

        Args:
            metrics: The generation's metrics by name.
            fitness_N2: Not recorded.

        Raises:
            OSError: The row cannot be written.
        """
        del fitness_N2
        self._rows.append(dict(metrics))
        if further := [name for name in metrics if name not in self._columns]:
            self._columns += further
            self._write_anew()
            return
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND)
        try:
            atomic_files.append(descriptor, self._lines([metrics]))
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Does nothing: the file is closed after each row."""

    def _write_anew(self) -> None:
        head = self._lines([dict(zip(self._columns, self._columns, strict=True))]) if self._columns else b""
        atomic_files.replace(self._path, head + self._lines(self._rows))

    def _lines(self, rows: list[Metrics]) -> bytes:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerows([[row.get(name, "") for name in self._columns] for row in rows])
        return text.getvalue().encode()
