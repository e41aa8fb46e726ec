"""Shows metrics on the terminal, as a live table, or in a file or a pipe, as plain lines."""

import contextlib
import math
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TextIO

import rich.console
from numpy.typing import NDArray
from rich.live import Live
from rich.table import Table
from rich.text import Text

from distes.runs.monitors.base import Metrics, Monitor
from distes.runs.monitors.sparkline import sparkline
from distes.runs.terminal import UNWRITABLE, write

REFRESH_SECONDS = 0.125  # between two updates of the table; more than 8 a second are not noticed
NARROWEST = 20  # columns; the table is unreadable in a narrower terminal
PROGRESS = re.compile(r" \.\.\.$|are there(?:: training begins)?\.$")  # lines that quiet runs do not show
CURVE_MARGIN = 20  # columns beside a curve in the table
HEADER = ("gen", "timesteps", "time", "fitness", "best", "evaluation", "steps/s")
WIDTHS = (6, 11, 7, 16, 9, 17, 8)  # of the columns of plain lines, together within 80 characters
MOST_SCALARS = 4  # of the task's, that are shown
PHASES = ("time/evaluate", "time/update", "time/ask", "time/record")


class Console(Monitor):
    """Shows the progress of a run: as a live table if `stream` is a terminal, otherwise as lines.

    Everything is drawn within `record`, `say`, `table` and `close`, never in a thread, so Ctrl-C and debuggers work as
    usual. While the table is shown, other output appears above it. The last table stays on the screen.
    """

    def __init__(
        self,
        *,
        generations: int | None = None,
        total_timesteps: int | None = None,
        max_seconds: float | None = None,
        target_fitness: float | None = None,
        title: str = "distes",
        in_process: bool = False,
        stream: TextIO | None = None,
        live: bool | None = None,
        line_seconds: float = 1.0,
        quiet: bool = False,
    ) -> None:
        """Shows nothing yet.

        Args:
            generations: The run's limit of generations, or None. This and the next two give "of N" and the time left.
            total_timesteps: The run's limit of environment steps, or None.
            max_seconds: The run's limit of seconds, or None.
            target_fitness: The mean fitness that an evaluation must reach; None or infinity for no target.
            title: Title of the table.
            in_process: Whether members are evaluated in this process, so that there are no workers to count.
            stream: The stream to write to; None for standard output.
            live: Whether to show the table; None shows it if the stream is a terminal that can display it and no
                debugger is attached.
            line_seconds: Minimum time between two plain lines in seconds; the first and the last line always appear.
            quiet: Whether to show only warnings and what `say` shows besides progress.
        """
        self._budgets = {"generation": generations, "timesteps": total_timesteps, "seconds": max_seconds}
        self._target = None if target_fitness == math.inf else target_fitness
        self._title, self._in_process, self._quiet = title, in_process, quiet
        self._stream = sys.stdout if stream is None else stream
        self._terminal = rich.console.Console(file=self._stream)
        capable = self._terminal.is_terminal and not self._terminal.is_dumb_terminal
        capable = capable and self._terminal.width >= NARROWEST and _knows_letters(self._stream)
        self._is_live = live if live is not None else capable and sys.gettrace() is None
        self._line_seconds = line_seconds
        self._live: Live | None = None
        self._first: dict[str, float] | None = None
        self._latest: dict[str, Any] = {}
        self._evaluations: list[float] = []  # means of the centre's evaluations
        self._evaluated = 0  # the generation of the last one
        self._headed = False  # whether the plain lines have their header
        self._scalars: list[str] = []  # that have a column in plain lines
        self._drawn_at = -math.inf
        self._drawn = True

    def record(self, metrics: Metrics, fitness_N2: NDArray[Any]) -> None:
        """Shows the generation, unless the last update is too recent: 0.125 s for the table, else `line_seconds`."""
        del fitness_N2
        if self._quiet:
            return
        self._latest.update(metrics)  # an evaluation is shown until the next one
        if "eval/mean" in metrics:
            self._evaluations.append(float(metrics["eval/mean"]))
            self._evaluated = int(metrics["generation"])
        if self._first is None:
            self._first = {key: float(metrics[key]) for key in self._budgets}
        self._drawn = False
        if time.monotonic() - self._drawn_at >= (REFRESH_SECONDS if self._is_live else self._line_seconds):
            self._draw()

    def say(self, line: str) -> None:
        """Shows one line, above the live table if there is one. Does nothing if the terminal or pipe is gone."""
        if self._quiet and PROGRESS.search(line):
            return
        with contextlib.suppress(*UNWRITABLE):
            if self._live is not None:
                self._live.console.print(Text(line), soft_wrap=True)
            else:
                self._print(line)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Shows a small table, above the live one if there is one; in a file or a pipe, one line per row.

        Args:
            columns: The names of the columns.
            rows: The values of each row, one per column.
        """
        if self._quiet:
            return
        if not self._is_live:
            for row in rows:
                self.say(", ".join(f"{column} {value}" for column, value in zip(columns, row, strict=True)))
            return
        table = Table(box=None, pad_edge=False, header_style="dim")
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*map(Text, row))
        with contextlib.suppress(*UNWRITABLE):
            (self._terminal if self._live is None else self._live.console).print(table)

    def close(self) -> None:
        """Shows the last generation if it was not shown, and leaves the table on the screen."""
        try:
            if not self._drawn:
                self._draw()
        finally:
            if self._live is not None:
                live, self._live = self._live, None
                live.stop()

    def _draw(self) -> None:
        self._drawn_at, self._drawn = time.monotonic(), True
        if not self._is_live:
            if not self._headed:
                self._headed, self._scalars = True, _scalars(self._latest)[:MOST_SCALARS]
                self._print(_cells((*HEADER, *(f"{name} (centre)" for name in self._scalars)), self._scalars))
            self._print(_line(self._latest, self._evaluated, self._scalars))
            return
        if self._live is None:
            self._live = Live(console=self._terminal, auto_refresh=False)
            self._live.start()
        self._live.update(self._table(), refresh=True)

    def _print(self, line: str) -> None:
        write(f"{line}\n", self._stream)

    def _table(self) -> Table:
        width = min(50, self._terminal.width)  # a minimum: a table whose width changes with its numbers flickers
        table = Table(title=self._title, title_justify="left", show_header=False, min_width=width)
        table.add_column(no_wrap=True, style="dim")
        table.add_column(no_wrap=True, ratio=1)
        for name, value in self._rows():
            table.add_row(name, Text(value))
        return table

    def _rows(self) -> Iterator[tuple[str, str]]:
        m = self._latest
        yield "generation", self._progress("generation")
        yield "timesteps", self._progress("timesteps")
        yield "time", f"{duration(m['seconds'])}{self._time_left()}"
        yield "fitness", _spread(m, "fitness") + _optional(m, "fitness/max", ", best {}")
        if "eval/mean" in m:
            target = "" if self._target is None else f" (target {number(self._target)})"
            old = f", in generation {self._evaluated:,}" if self._evaluated != m["generation"] else ""
            yield "evaluation", _spread(m, "eval") + _episodes(m) + target + old
            if len(self._evaluations) > 1:
                width = min(50, self._terminal.width) - CURVE_MARGIN
                yield "", sparkline(self._evaluations, max(1, width))
        for name in _scalars(m)[:MOST_SCALARS]:
            centre = _optional(m, f"eval/info/{name}", ", centre {}")
            yield name, f"{number(m[f'info/{name}'])}{centre}"
        if "episode/length" in m:
            yield "episode length", number(m["episode/length"])
        if "rate/timesteps" in m:
            yield "speed", f"{m['rate/timesteps']:,.0f} steps/s" + _optional(m, "rate/episodes", ", {} episodes/s")
        if "workers/alive" in m:
            yield "workers", _workers(m, self._in_process)
        if "norm/step_over_centre" in m:
            yield "step / centre", f"{m['norm/step_over_centre']:.2g}"
        if "sigma" in m:
            rate = f", learning rate {m['learning_rate']:.3g}" if "learning_rate" in m else ""
            yield "sigma", f"{m['sigma']:.3g}{rate}"
        if phases := _phases(m):
            yield "time by phase", phases

    def _progress(self, key: str) -> str:
        budget = self._budgets[key]
        return f"{self._latest[key]:,}" + ("" if budget is None else f" of {budget:,}")

    def _time_left(self) -> str:
        """Returns the time until the first budget runs out, at the mean pace since this process's first record."""
        assert self._first is not None
        elapsed = self._latest["seconds"] - self._first["seconds"]
        left = []
        for key, budget in self._budgets.items():
            done = self._latest[key] - self._first[key]
            if budget is not None and done > 0:
                left.append((budget - self._latest[key]) / done * elapsed)
        return f", about {duration(max(0.0, min(left)))} left" if left else ""


def _knows_letters(stream: TextIO | None) -> bool:
    """Returns whether the stream's encoding has the characters of the live table."""
    try:
        "±╭─▁█".encode(getattr(stream, "encoding", None) or "utf-8")
    except (UnicodeError, LookupError):
        return False
    return True


def duration(seconds: float) -> str:
    """Formats seconds: `8.3s`, `4m 05s`, `3h 07m`, `2d 04h`; `inf` and `nan` as Python prints them."""
    if not math.isfinite(seconds):
        return str(float(seconds))
    if seconds < 59.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    for unit, size, smaller, part in (("d", 86400, "h", 3600), ("h", 3600, "m", 60)):
        if whole >= size:
            return f"{whole // size}{unit} {whole % size // part:02d}{smaller}"
    return f"{whole // 60}m {whole % 60:02d}s"


def number(value: float) -> str:
    """Formats a number: with two decimals for 0 and magnitudes from 0.01 to 1e7, otherwise with three digits."""
    return f"{value:,.2f}" if value == 0 or 0.01 <= abs(value) < 1e7 else f"{value:.3g}"


def _line(m: Mapping[str, Any], evaluated: int, scalars: Sequence[str] = ()) -> str:
    """Formats the metrics of one generation as a line below `HEADER`.

    Args:
        m: The metrics.
        evaluated: The generation of the evaluation, which is named if it is another one.
        scalars: Names of the scalars that have a column.
    """
    evaluation = ""
    if "eval/mean" in m:
        evaluation = _spread(m, "eval") + (f" ({evaluated:,})" if evaluated != m["generation"] else "")
    speed = f"{m['rate/timesteps']:,.0f}" if "rate/timesteps" in m else ""
    cells = f"{m['generation']:,}", f"{m['timesteps']:,}", duration(m["seconds"]), _spread(m, "fitness")
    best = number(m["fitness/max"]) if "fitness/max" in m else ""
    reported = [_optional(m, f"info/{name}", "{}") + _optional(m, f"eval/info/{name}", " ({})") for name in scalars]
    return _cells((*cells, best, evaluation, speed, *reported), scalars)


def _cells(cells: Sequence[str], scalars: Sequence[str] = ()) -> str:
    widths = (*WIDTHS, *(max(len(name) + 9, 17) for name in scalars))
    return " ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()


def _scalars(m: Mapping[str, Any]) -> list[str]:
    """The names of the scalars that the task reports."""
    return [key.removeprefix("info/") for key in m if key.startswith("info/")]


def _spread(m: Mapping[str, Any], group: str) -> str:
    return number(m[f"{group}/mean"]) + _optional(m, f"{group}/std", " ± {}")


def _episodes(m: Mapping[str, Any]) -> str:
    return f" over {m['eval/episodes']:,}" if "eval/episodes" in m else ""


def _optional(m: Mapping[str, Any], key: str, form: str) -> str:
    return form.format(number(m[key])) if key in m else ""


def _workers(m: Mapping[str, Any], in_process: bool) -> str:
    text = "this process" if in_process else f"{m['workers/alive']:,}"
    if "workers/utilisation" in m:
        text += f", {m['workers/utilisation']:.0%} busy"
    if m.get("workers/restarted"):
        text += f", {m['workers/restarted']:,} restarted"
    return text


def _phases(m: Mapping[str, Any]) -> str:
    """Formats each phase's share of the generation's time; empty if no time was recorded."""
    seconds = {key.removeprefix("time/"): m[key] for key in PHASES if key in m}
    total = sum(seconds.values())
    return " ".join(f"{name} {value / total:.0%}" for name, value in seconds.items()) if total > 0 else ""
