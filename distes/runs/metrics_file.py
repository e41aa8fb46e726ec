"""`metrics.jsonl`: one line of strict JSON per generation, read in one place.

JSON has no NaN and no infinity: they stand as the strings "NaN", "Infinity" and "-Infinity".
"""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from distes.errors import RunDirectoryError
from distes.runs import atomic_files

NOT_FINITE = ("NaN", "Infinity", "-Infinity")


def encode(metrics: Mapping[str, float | int | str]) -> bytes:
    """Returns the line of a generation's metrics."""
    return (json.dumps({key: _plain(value) for key, value in metrics.items()}, allow_nan=False) + "\n").encode()


def read_rows(path: Path, *, damaged: bool = False) -> list[dict[str, Any]]:
    """Returns the metrics of each generation by name, the oldest first; numbers that are not finite are floats.

    A last line that is torn, since it is being written or the process was killed, is left out. Where a resumed run has
    repeated generations, the later lines count.

    Args:
        path: The file; without one, there are no rows.
        damaged: Whether to leave out other lines that are no lines of metrics, too.

    Raises:
        RunDirectoryError: The file cannot be read, or a line of it is no line of metrics.
    """
    if not path.exists():
        return []
    try:
        lines = atomic_files.read(path).split(b"\n")
    except (OSError, ValueError) as error:
        why = atomic_files.reason(error) if isinstance(error, OSError) else error
        raise RunDirectoryError(f"{path} cannot be read: {why}.") from error
    rows: list[dict[str, Any]] = []
    for number, row in _parsed(lines):
        if isinstance(row, str):
            if damaged or number == len(lines):
                continue
            raise RunDirectoryError(f"Line {number} of {path} is damaged: {row}.")
        while rows and rows[-1]["generation"] >= row["generation"]:
            rows.pop()
        rows.append(row)
    return rows


def _parsed(lines: list[bytes]) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Yields the number of each line that is not empty, from 1, and its metrics, or what is wrong with it."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            yield number, "it is no line of metrics"
        elif type(row.get("generation")) is not int:
            yield number, "it has no whole number 'generation', as a line of metrics has"
        else:
            yield number, {name: float(one) if one in NOT_FINITE else one for name, one in row.items()}


def _plain(value: float | int | str) -> float | int | str:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
