"""Shows progress below a notebook's cell: one small table, which changes in place."""

import time
from collections.abc import Sequence
from html import escape
from typing import Any

from IPython.display import HTML, display
from numpy.typing import NDArray

from distes.runs.monitors.base import Metrics, Monitor
from distes.runs.monitors.wording import duration, number
from distes.runs.units import UNITS

REFRESH_SECONDS = 0.5


class Notebook(Monitor):
    """Draws within `record` and `close`, without a thread; messages are printed."""

    def __init__(self, *, title: str = "distes", **limits: Any) -> None:
        """Shows nothing yet.

        Args:
            title: Title of the table.
            limits: `generations`, `total_timesteps` and `max_seconds` as of `Console`, for "of N", and
                `units`; others are ignored.
        """
        self._title, self._units = title, limits.get("units", UNITS)
        self._limits = {"generation": limits.get("generations"), "timesteps": limits.get("total_timesteps")}
        self._latest = dict[str, Any]()
        self._drawn_at, self._handle = 0.0, None

    def record(self, metrics: Metrics, fitness_N2: NDArray[Any]) -> None:
        """Shows the generation, unless the last one was shown less than half a second ago."""
        del fitness_N2
        self._latest.update(metrics)
        if time.monotonic() - self._drawn_at >= REFRESH_SECONDS:
            self._draw()

    def say(self, line: str) -> None:
        """Prints a message."""
        print(line)

    def waiting(self, text: str) -> None:
        """Shows what is being waited for, until the first generation."""
        if not self._latest and time.monotonic() - self._drawn_at >= REFRESH_SECONDS:
            self._drawn_at = time.monotonic()
            self._put(HTML(f"<b>{escape(self._title)}</b><br>{escape(text)} ..."))  # type: ignore[no-untyped-call]

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Prints a row at a time."""
        for row in rows:
            print(", ".join(f"{column} {value}" for column, value in zip(columns, row, strict=True)))

    def close(self) -> None:
        """Shows the last generation."""
        if self._latest:
            self._draw()

    def _draw(self) -> None:
        self._drawn_at, m = time.monotonic(), self._latest
        rows = {}
        for name, limit in self._limits.items():
            shown = self._units.steps if name == "timesteps" else name
            rows[shown] = f"{m[name]:,}" + ("" if limit is None else f" of {limit:,}")
        rows["time"] = duration(m["seconds"])
        rows["fitness"] = f"{number(m['fitness/mean'])} ± {number(m['fitness/std'])}, best {number(m['fitness/max'])}"
        if "eval/mean" in m:
            rows["evaluation"] = f"{number(m['eval/mean'])} ± {number(m['eval/std'])}"
        if "rate/timesteps" in m:
            rows["speed"] = f"{m['rate/timesteps']:,.0f} {self._units.rate}"
        cells = "".join(f"<tr><td>{name}</td><td>{escape(value)}</td></tr>" for name, value in rows.items())
        page: Any = HTML(f"<b>{escape(self._title)}</b><table>{cells}</table>")  # type: ignore[no-untyped-call]
        self._put(page)

    def _put(self, page: Any) -> None:
        if self._handle is None:
            self._handle = display(page, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._handle.update(page)
