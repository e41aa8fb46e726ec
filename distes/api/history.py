"""The metrics of a run, generation by generation."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from distes.errors import RunDirectoryError
from distes.runs import atomic_files
from distes.runs.monitors.wording import number

NOT_FINITE = ("NaN", "Infinity", "-Infinity")  # as metrics.jsonl writes them, since JSON has no such numbers


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Returns the metrics of each generation, by name; numbers that are not finite are floats.

    A last line that is incomplete, since the run goes on or was killed, is left out.

    Args:
        path: `metrics.jsonl`.

    Raises:
        RunDirectoryError: The file cannot be read.
    """
    if not path.exists():
        return []
    try:
        lines = atomic_files.read(path).decode().split("\n")
        rows = [json.loads(line) for line in lines[:-1]]
    except (OSError, ValueError, RecursionError) as error:
        reason = atomic_files.reason(error) if isinstance(error, OSError) else error
        raise RunDirectoryError(f"{path} cannot be read: {reason}.") from error
    return [{name: float(one) if one in NOT_FINITE else one for name, one in row.items()} for row in rows]


def as_table(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Returns a pandas DataFrame with the generation as index, or the rows as they are where pandas is not installed.

    Args:
        rows: Metrics by name, one mapping for each generation.
    """
    if find_spec("pandas") is None:
        return list(rows)
    import pandas

    table = pandas.DataFrame(list(rows))
    return table.set_index("generation", drop=False) if len(table) else table


def as_html(title: str, facts: Mapping[str, Any]) -> str:
    """Returns a small table in HTML.

    Args:
        title: Its caption.
        facts: The right column by the left one.
    """
    cells = "".join(
        f"<tr><th style='text-align:left'>{escape(name)}</th><td style='text-align:left'>{escape(str(value))}</td></tr>"
        for name, value in facts.items()
    )
    return f"<table><caption style='text-align:left'>{escape(title)}</caption>{cells}</table>"


def in_words(mean: float | None, std: float | None, episodes: int) -> str:
    """Returns an evaluation in words, such as `487.20 ± 12.10 over 100 episodes`."""
    if not episodes or mean is None or std is None:
        return "not evaluated"
    return f"{number(mean)} ± {number(std)} over {episodes} episodes"
