"""Shows metrics on the terminal, as a live table, or in a file or a pipe, as plain lines."""

import contextlib
import math
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, TextIO

import rich.console
from numpy.typing import NDArray
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from distes.errors.messages import Level, level_of
from distes.runs.monitors import wording
from distes.runs.monitors.base import Metrics, Monitor
from distes.runs.monitors.sparkline import sparkline
from distes.runs.monitors.wording import duration, number
from distes.runs.terminal import UNWRITABLE, columns_of, wrapped, write
from distes.runs.units import UNITS, Units

REFRESH_SECONDS = 0.125  # between two updates of the table; more than 8 a second are not noticed
NARROWEST = 20  # columns; the table is unreadable in a narrower terminal
CURVE_MARGIN = 20  # columns beside a curve in the table
MOST_SCALARS = 4  # of the task's, that are shown
WAIT_SECONDS = 5.0  # between two plain lines of what is being waited for
LONG_SECONDS = 2.0  # after which the table shows how far the generation is


class Console(Monitor):
    """Shows the progress of a run: as a live table if `stream` is a terminal, otherwise as lines.

    Until the first generation is recorded, it shows what is being waited for. Everything is drawn within its methods,
    never in a thread, so Ctrl-C and debuggers work as usual. While the table is shown, other output appears above it.
    The last table stays on the screen.
    """

    def __init__(
        self,
        *,
        generations: int | None = None,
        total_timesteps: int | None = None,
        max_seconds: float | None = None,
        target_fitness: float | None = None,
        title: str = "distes",
        stream: TextIO | None = None,
        live: bool | None = None,
        line_seconds: float = 1.0,
        quiet: bool = False,
        units: Units = UNITS,
    ) -> None:
        """Shows nothing yet.

        Args:
            generations: The run's limit of generations, or None. This and the next two give "of N" and the time left.
            total_timesteps: The run's limit of environment steps, or None.
            max_seconds: The run's limit of seconds, or None.
            target_fitness: The mean fitness that an evaluation must reach; None or infinity for no target.
            title: Title of the table.
            stream: The stream to write to; None for standard output.
            live: Whether to show the table; None shows it if the stream is a terminal that can display it and no
                debugger is attached.
            line_seconds: Minimum time between two plain lines in seconds; the first and the last line always appear.
            quiet: Whether to show notes and warnings only, see `distes.errors.messages`.
            units: What the task's steps and episodes are called.
        """
        self._budgets = {"generation": generations, "timesteps": total_timesteps, "seconds": max_seconds}
        self._target = None if target_fitness == math.inf else target_fitness
        self._title, self._quiet, self._units = title, quiet, units
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
        self._warnings = wording.Warnings()
        self._spinner = Spinner("dots")
        self._now = ""  # how far a long generation is
        self._began = self._spoke_at = self._recorded_at = time.monotonic()
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
        self._drawn, self._now, self._recorded_at = False, "", time.monotonic()
        if time.monotonic() - self._drawn_at >= (REFRESH_SECONDS if self._is_live else self._line_seconds):
            self._draw()

    def say(self, line: str) -> None:
        """Shows one line, above the live table if there is one. Does nothing if the terminal or pipe is gone.

        Args:
            line: A text, or a message with a level. The table repeats the last warnings.
        """
        level = level_of(line)
        if self._quiet and level is Level.PROGRESS:
            return
        if level is Level.WARNING:
            self._warnings.add(" ".join(line.split()))
        self._spoke_at = time.monotonic()
        with contextlib.suppress(*UNWRITABLE):
            if self._live is not None:
                self._live.console.print(Text(wrapped(line, self._terminal.width)), soft_wrap=True)
            else:
                self._print(wrapped(line, columns_of(self._stream)))

    def waiting(self, text: str) -> None:
        """Shows what is being waited for: beside a spinner, or as a line every `WAIT_SECONDS` at most.

        After the first generation, the table shows how far the present one is, if that takes long.

        Args:
            text: Such as `starting Ray` or `3 of 8 workers ready`; may be given again and again.
        """
        now = time.monotonic()
        if self._quiet or (self._first is not None and not self._is_live):
            return
        with contextlib.suppress(*UNWRITABLE):
            if not self._is_live:
                if now - self._spoke_at >= WAIT_SECONDS:
                    self._spoke_at = now
                    self._print(f"{text} ({duration(now - self._began)}) ...")
            elif now - self._drawn_at < REFRESH_SECONDS:
                return
            elif self._first is None:
                self._drawn_at = now
                self._spinner.update(text=Text(f"{text} ({now - self._began:.0f}s)"))
                self._show(self._spinner)
            elif now - self._recorded_at >= LONG_SECONDS:
                self._now = text
                self._draw()

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
            if self._now or not self._drawn:
                self._now = ""
                self._draw()
        finally:
            if self._live is not None:
                live, self._live = self._live, None
                live.transient = self._first is None  # a spinner leaves nothing
                live.stop()

    def _draw(self) -> None:
        self._drawn_at, self._drawn = time.monotonic(), True
        if not self._is_live:
            if not self._headed:
                self._headed, self._scalars = True, wording.scalars(self._latest)[:MOST_SCALARS]
                self._print(wording.header(self._scalars, self._units))
            self._print(wording.line_of(self._latest, self._evaluated, self._scalars))
            return
        self._show(self._table())

    def _show(self, what: Table | Spinner) -> None:
        if self._live is None:
            self._live = Live(console=self._terminal, auto_refresh=False)
            self._live.start()
        self._live.update(what, refresh=True)

    def _print(self, line: str) -> None:
        write(f"{line}\n", self._stream)

    def _table(self) -> Table:
        width = min(50, self._terminal.width)  # a minimum: a table whose width changes with its numbers flickers
        table = Table(title=self._title, title_justify="left", show_header=False, min_width=width)
        rows = list(self._rows())
        table.add_column(no_wrap=True, style="dim", min_width=max(len(name) for name, _ in rows))
        table.add_column(no_wrap=True, ratio=1)
        for name, value in rows:
            table.add_row(name, Text(value))
        return table

    def _rows(self) -> Iterator[tuple[str, str]]:
        m = self._latest
        yield "generation", self._progress("generation")
        yield self._units.steps, self._progress("timesteps")
        yield "time", f"{duration(m['seconds'])}{self._time_left()}"
        if self._now:
            yield "now", self._now
        yield "fitness", wording.spread(m, "fitness") + wording.optional(m, "fitness/max", ", best {}")
        if "eval/mean" in m:
            target = "" if self._target is None else f" (target {number(self._target)})"
            old = f", in generation {self._evaluated:,}" if self._evaluated != m["generation"] else ""
            over = f" over {m['eval/episodes']:,}" if "eval/episodes" in m else ""
            mean = wording.spread(m, "eval") + over
            if len(mean + target + old) <= self._terminal.width - CURVE_MARGIN:
                yield "evaluation", mean + target + old
            else:
                yield "evaluation", mean
                yield "", f"{target}{old}".strip(" ,")
            if len(self._evaluations) > 1:
                width = min(50, self._terminal.width) - CURVE_MARGIN
                yield "", sparkline(self._evaluations, max(1, width))
        for name in wording.scalars(m)[:MOST_SCALARS]:
            parts = wording.optional(m, f"info/{name}", "{}"), wording.optional(m, f"eval/info/{name}", "centre {}")
            yield name, ", ".join(filter(None, parts))
        if "episode/length" in m:
            yield f"{self._units.episode} length", number(m["episode/length"])
        if "rate/timesteps" in m:
            episodes = wording.optional(m, "rate/episodes", f", {{}} {self._units.episodes}/s")
            yield "speed", f"{m['rate/timesteps']:,.0f} {self._units.rate}{episodes}"
        if "workers/alive" in m:
            yield "workers", wording.workers(m)
            if nodes := wording.nodes(m):
                yield "", nodes
        if "norm/step_over_centre" in m:
            yield "step / centre", f"{m['norm/step_over_centre']:.2g}"
        if "sigma" in m:
            rate = f", learning rate {m['learning_rate']:.3g}" if "learning_rate" in m else ""
            yield "sigma", f"{m['sigma']:.3g}{rate}"
        if phases := wording.phases(m):
            yield "time by phase", phases
        for number_of, text in enumerate(self._warnings):
            yield ("" if number_of else "warnings"), text

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
        return f", about {duration(min(left))} left" if left and min(left) > 0 else ""


def _knows_letters(stream: TextIO | None) -> bool:
    """Returns whether the stream's encoding has the characters of the live table."""
    try:
        "±╭─▁█⠋".encode(getattr(stream, "encoding", None) or "utf-8")
    except (UnicodeError, LookupError):
        return False
    return True
