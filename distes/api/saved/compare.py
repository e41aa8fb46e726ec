"""Compares runs: final evaluations and the way to the target, with seeds taken together."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distes.errors import ConfigurationError
from distes.runs.groups import Group, group_runs
from distes.runs.history import History, as_float, read_runs
from distes.runs.monitors.wording import duration
from distes.runs.statistics import bootstrap_interval, interquartile_mean
from distes.runs.units import common_units

NARROWEST = 12  # columns of the groups' names
GAP = 2  # columns between two


@dataclass(frozen=True)
class Row:
    """One group of runs. None stands for what is not known.

    Attributes:
        group: What sets the group apart, as `sigma=0.1`.
        runs: Number of runs.
        finished: Number of runs that reached a limit or their target; the figures of evaluations are over these.
        median: Median of the final evaluations.
        quartile1: First quartile of the final evaluations.
        quartile3: Third quartile of the final evaluations.
        iqm: Interquartile mean of the final evaluations.
        iqm_low: Lower end of its 95 % bootstrap interval.
        iqm_high: Upper end of its 95 % bootstrap interval.
        best: The best final evaluation.
        reached: Number of runs that reached the target.
        unit: What the timesteps are, such as `tokens`; None if the runs' tasks count different things.
        timesteps: Median of the timesteps to the target; None if no more than half of the runs reached it, or if there
            is no unit.
        seconds: Median of the seconds of training to the target; None as for `timesteps`.
    """

    group: str
    runs: int
    finished: int
    median: float | None
    quartile1: float | None
    quartile3: float | None
    iqm: float | None
    iqm_low: float | None
    iqm_high: float | None
    best: float | None
    reached: int
    unit: str | None
    timesteps: float | None
    seconds: float | None


@dataclass(frozen=True)
class Comparison:
    """Runs side by side; `print` shows it as a table.

    Attributes:
        rows: One per group.
        target: The target that was given; None for each run's own.
        unfinished: The runs that have not finished, with the generations that they have done.
        left_out: Why runs are left out that cannot be read, by directory.
    """

    rows: list[Row]
    target: float | None
    unfinished: dict[Path, int]
    left_out: dict[Path, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The whole comparison, in values that JSON can hold."""
        return {
            "target": self.target,
            "groups": [asdict(row) for row in self.rows],
            "unfinished": {str(path): generation for path, generation in self.unfinished.items()},
            "left_out": {str(path): why for path, why in self.left_out.items()},
        }

    def table(self, width: int = 80) -> str:
        """The comparison as text.

        Args:
            width: Columns of the terminal. Names of groups are wrapped to fit; numbers are never cut.
        """
        names = [row.group for row in self.rows]
        target = "each run's own target" if self.target is None else _short(self.target)
        units = {row.unit for row in self.rows}
        steps = units.pop() if len(units) == 1 else None  # else each cell names its own unit
        finals = [_final_cells(row) for row in self.rows]
        targets = [_target_cells(row, names_unit=steps is None) for row in self.rows]
        parts = [
            "Final evaluation of each run, over its seeds\n",
            *_aligned(("runs", "median", "quartiles", "IQM", "95% interval", "best"), names, finals, width),
            f"\nTo {target}, median over the seeds\n",
            *_aligned(("reached", steps or "steps", "time"), names, targets, width),
        ]
        if self.unfinished:
            parts.append("\nNot finished, and not counted in final evaluations:\n")
            parts += [f"  {path}, after {done:,} generations\n" for path, done in self.unfinished.items()]
        if self.left_out:
            parts.append("\nLeft out:\n")
            for why in self.left_out.values():
                lines = textwrap.wrap(why, max(width - 2, NARROWEST), break_long_words=False, break_on_hyphens=False)
                parts += [f"  {line}\n" for line in lines]
        return "".join(parts)

    def __str__(self) -> str:
        return self.table()


def compare(
    run_dirs: Sequence[Path | str], by: str | Sequence[str] | None = None, target: float | None = None
) -> Comparison:
    """Compares runs. Those that differ in nothing but their seed form one group.

    Args:
        run_dirs: Run directories, or directories that hold some at any depth.
        by: The key, or keys, of the configuration that make groups. None takes all that differ.
        target: The mean fitness of the centre to be reached, in one evaluation. None takes each run's own target, which
            further episodes had to confirm.

    Raises:
        ConfigurationError: An argument is wrong, or there is no run.
        RunDirectoryError: A path is not a directory, or no run can be read. Of several, unreadable ones are left out.
    """
    if not run_dirs:
        raise ConfigurationError("There is no run to compare: name at least one run directory.")
    if target is not None and not math.isfinite(target):
        raise ConfigurationError(f"target must be a finite number; got {target}.")
    runs, left_out = read_runs(run_dirs)
    unfinished = {run.path: len(run.rows) for run in runs if not run.finished}
    return Comparison([_row(group, target) for group in group_runs(runs, by)], target, unfinished, left_out)


def final_evaluation(run: History) -> float | None:
    """The mean of a finished run's final episodes, or of its last evaluation if it had none.

    Returns:
        The mean; None if there is none, or if it is not finite.
    """
    assert run.result is not None
    mean = run.result.get("eval_mean")
    if mean is None and not run.result.get("eval_episodes"):
        mean = next((row["eval/mean"] for row in reversed(run.rows) if "eval/mean" in row), None)
    return float(mean) if isinstance(mean, int | float) and math.isfinite(mean) else None


def _row(group: Group, target: float | None) -> Row:
    finals = np.array([final for run in group.finished if (final := final_evaluation(run)) is not None])
    known = len(finals) > 0
    quartiles = np.quantile(finals, (0.25, 0.5, 0.75)).tolist() if known else [None] * 3
    low, high = bootstrap_interval(finals) or (None, None)
    units = common_units(run.units for run in group.runs)
    ways = [way for run in group.runs if (way := _to_target(run, target)) is not None]
    return Row(
        group=group.label,
        runs=len(group.runs),
        finished=len(group.finished),
        median=quartiles[1],
        quartile1=quartiles[0],
        quartile3=quartiles[2],
        iqm=interquartile_mean(finals) if known else None,
        iqm_low=low,
        iqm_high=high,
        best=float(finals.max()) if known else None,
        reached=len(ways),
        unit=None if units is None else units.steps,
        timesteps=None if units is None else _median_of_all([way[0] for way in ways], len(group.runs)),
        seconds=_median_of_all([way[1] for way in ways], len(group.runs)),
    )


def _to_target(run: History, target: float | None) -> tuple[float, float] | None:
    """Timesteps and seconds to the target, NaN where they were not recorded; None if the run has not reached it."""
    if target is None:
        result = run.result
        if result is None or result.get("reason") != "target_fitness":
            return None
        return as_float(result.get("timesteps")), as_float(result.get("seconds"))
    for row in run.rows:
        mean = row.get("eval/mean")
        if isinstance(mean, int | float) and mean >= target:
            return as_float(row.get("timesteps")), as_float(row.get("seconds"))
    return None


def _median_of_all(reached: Sequence[float], runs: int) -> float | None:
    """The median over all runs; a run that did not reach the target counts as infinity."""
    values: NDArray[np.float64] = np.array([*reached, *[math.inf] * (runs - len(reached))])
    with np.errstate(invalid="ignore"):
        middle = float(np.median(values))
    return middle if math.isfinite(middle) else None


def _final_cells(row: Row) -> list[str]:
    runs = str(row.runs) if row.finished == row.runs else f"{row.finished} of {row.runs}"
    return [
        runs,
        _short(row.median),
        _span(row.quartile1, row.quartile3) if row.finished > 1 else "-",
        _short(row.iqm),
        _span(row.iqm_low, row.iqm_high),
        _short(row.best),
    ]


def _target_cells(row: Row, *, names_unit: bool) -> list[str]:
    time = "-" if row.seconds is None else duration(row.seconds)
    timesteps = "-" if row.timesteps is None else f"{row.timesteps:,.0f}"
    unit = f" {row.unit}" if names_unit and row.timesteps is not None else ""
    return [f"{row.reached} of {row.runs}", f"{timesteps}{unit}", time]


def _short(value: float | None) -> str:
    """A number with about four digits, as `499.5`, `-0.123` or `12,345`."""
    if value is None:
        return "-"
    size = abs(value)
    if size >= 1e7 or 0 < size < 1e-3:
        return f"{value:.3g}"
    return f"{value:,.{0 if size >= 1000 else 1 if size >= 100 else 2 if size >= 1 else 4}f}"


def _span(low: float | None, high: float | None) -> str:
    return "-" if low is None or high is None else f"{_short(low)} to {_short(high)}"


def _aligned(head: Sequence[str], names: Sequence[str], cells: Sequence[Sequence[str]], width: int) -> list[str]:
    """Lines of a table: names to the left, wrapped to what is left of the width, and numbers to the right."""
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    room = max(NARROWEST, width - sum(widths) - GAP * len(widths))
    wrapped = [textwrap.wrap(name, room) or [""] for name in names]
    first = max(len(line) for lines in wrapped for line in lines)
    gap = " " * GAP
    rule = "-" * (first + sum(widths) + GAP * len(widths))
    lines = [gap.join([" " * first, *(one.rjust(size) for one, size in zip(head, widths, strict=True))]), rule]
    for name, row in zip(wrapped, cells, strict=True):
        lines.append(
            gap.join([name[0].ljust(first), *(one.rjust(size) for one, size in zip(row, widths, strict=True))])
        )
        lines += [f"  {line}" if len(line) + 2 <= first else line for line in name[1:]]
    return [f"{line.rstrip()}\n" for line in lines]
