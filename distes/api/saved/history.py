"""The metrics of a run, generation by generation."""

from collections.abc import Mapping, Sequence
from html import escape
from importlib.util import find_spec
from typing import Any

from distes.runs.monitors.wording import number


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
