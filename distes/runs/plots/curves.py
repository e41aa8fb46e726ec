"""Learning curves: a metric over timesteps, seconds or generations, a curve with a band for each group of runs.

What a task calls its timesteps, such as tokens, stands at the axis.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from distes.errors import ConfigurationError, DistesWarning, RunDirectoryError, did_you_mean
from distes.runs.groups import Group, group_runs, score_name, task_name
from distes.runs.history import History, read_runs
from distes.runs.plots.bands import Band, Curve, band, describe
from distes.runs.plots.style import COLOURS, DASHES, axes_of, number_axes, styled
from distes.runs.units import Units, common_units

ALONG = {"timesteps": "timesteps", "seconds": "seconds", "generations": "generation"}
LENGTHS = ((7200.0, 3600.0, "hours"), (300.0, 60.0, "minutes"), (0.0, 1.0, "seconds"))  # from a length on
INSIDE = 24  # characters of a legend that finds room within the axes


def plot_curves(
    run_dirs: Sequence[Path | str],
    x: str | None = None,
    y: str | None = None,
    by: str | Sequence[str] | None = None,
    *,
    smooth: int = 1,
    title: str | None = None,
    figure: Figure | None = None,
) -> Figure:
    """Draws the learning curves of runs. Runs that differ in nothing but their seed form one curve.

    The line is the median of the seeds and the band goes from the first quartile to the third; for fewer than four
    seeds they are the mean and the range. The legend says which.

    Args:
        run_dirs: Run directories, or directories that hold some at any depth.
        x: `timesteps`, or what the task counts in place of them, such as tokens; `seconds` (of training) or
            `generations`. None takes timesteps, or generations where the runs' tasks count different things.
        y: The metric; None takes `eval/mean`, or `fitness/mean` if no run has evaluated its centre.
        by: The key, or keys, of the configuration that make groups, such as `strategy.sigma`. None takes all that
            differ.
        smooth: Number of successive values whose mean is drawn; 1 draws the values themselves.
        title: The title; None names the task.
        figure: An empty figure to draw in, such as `pyplot.figure()`; None makes one that no window shows.

    Returns:
        The figure.

    Raises:
        ConfigurationError: An argument is wrong, or there is no run.
        RunDirectoryError: A path is not a directory, or no run can be read and has recorded the metric. Of several,
            those that cannot be drawn are left out, with a warning.
    """
    if x is not None and x not in ALONG:
        raise ConfigurationError(f"x must be one of {', '.join(ALONG)}; got {x!r}.{did_you_mean(x, ALONG)}")
    if smooth < 1:
        raise ConfigurationError(f"smooth must be at least 1, the number of values to average; got {smooth}.")
    if not run_dirs:
        raise ConfigurationError("There is no run to draw: name at least one run directory.")
    runs, left_out = read_runs(run_dirs)
    y = _metric(runs) if y is None else y
    x = _along(x, runs)
    curves = {run.path: curve.smoothed(smooth) for run in runs if (curve := _curve(run, x, y, left_out)) is not None}
    if not curves:
        raise RunDirectoryError(" ".join(left_out.values()))
    for why in left_out.values():
        warnings.warn(f"Left out: {why}", DistesWarning, stacklevel=2)
    runs = [run for run in runs if run.path in curves]
    groups = group_runs(runs, by)
    bands = [band([curves[run.path] for run in group.runs]) for group in groups]
    with styled():
        figure, axes = axes_of(figure)
        unit, x_label = _x_axis(x, max(float(one.x[-1]) for one in bands), runs[0].units)
        for index, (group, one) in enumerate(zip(groups, bands, strict=True)):
            _draw(axes, one, unit, _legend_entry(group, bands), index)
        axes.set_xlabel(x_label)
        axes.set_ylabel(_y_label(y, runs[0]))
        axes.set_title(title if title is not None else _title(runs), fontweight="bold")
        axes.set_xlim(left=0)
        axes.margins(x=0.01)
        number_axes(axes)
        _legend(figure, axes, groups, bands)
    return figure


def _along(x: str | None, runs: Sequence[History]) -> str:
    """What is on the x axis.

    Raises:
        ConfigurationError: Timesteps are asked for, and the runs' tasks count different things.
    """
    if x not in (None, "timesteps") or common_units(run.units for run in runs) is not None:
        return x or "timesteps"
    if x is None:
        return "generations"
    of = {run.units.steps: run.path for run in runs}
    raise ConfigurationError(
        f"x timesteps counts {', '.join(f'{steps} in {path}' for steps, path in of.items())}, which cannot share "
        "an axis: use x generations or seconds, or draw runs of one task."
    )


def _curve(run: History, x: str, y: str, left_out: dict[Path, str]) -> Curve | None:
    """A run's curve; None if it has none, and then `left_out` says why."""
    try:
        at, values = run.column(y, ALONG[x])
    except RunDirectoryError as error:
        left_out[run.path] = str(error)
        return None
    return Curve(at, values, run.finished)


def _metric(runs: Sequence[History]) -> str:
    return "eval/mean" if any("eval/mean" in run.numbers for run in runs) else "fitness/mean"


def _draw(axes: Axes, one: Band, unit: float, label: str, index: int) -> None:
    colour, dashes = COLOURS[index % len(COLOURS)], DASHES[index // len(COLOURS) % len(DASHES)]
    x: NDArray[np.float64] = one.x / unit
    alone = len(x) == 1
    axes.plot(x, one.middle, color=colour, linestyle=dashes, label=label, marker="o" if alone else "", zorder=3)
    if one.runs > 1:
        axes.fill_between(x, one.low, one.high, color=colour, alpha=0.18, linewidth=0, zorder=2)


def _x_axis(x: str, longest: float, units: Units) -> tuple[float, str]:
    """By what values on the x axis are divided, and the axis' label with the unit."""
    if x != "seconds":
        return 1.0, units.steps if x == "timesteps" else x
    return next((size, f"training time ({name})") for least, size, name in LENGTHS if longest >= least)


def _y_label(y: str, run: History) -> str:
    what = score_name(run)
    return {
        "eval/mean": f"mean {what} of the centre",
        "fitness/mean": f"mean {what} of the population",
        "fitness/max": f"best {what} of the population",
        "episode/length": f"mean {run.units.episode} length ({run.units.steps.removeprefix('time')})",
    }.get(y, y)


def _title(runs: Sequence[History]) -> str:
    """The task, and the strategy, where all runs have the same."""
    names = [list(dict.fromkeys(map(of, runs))) for of in (task_name, lambda run: str(run.setting("strategy")))]
    return ", ".join(found[0] for found in names if len(found) == 1)


def _legend_entry(group: Group, bands: Sequence[Band]) -> str:
    unfinished = len(group.runs) - len(group.finished)
    notes = [] if len({one.runs for one in bands}) == 1 else [describe(len(group.runs))]
    notes += [f"{unfinished} not finished"] if unfinished else []
    return f"{group.label} ({', '.join(notes)})" if notes else group.label


def _legend(figure: Figure, axes: Axes, groups: Sequence[Group], bands: Sequence[Band]) -> None:
    """Says which curve is which, and what line and band are; nothing for a single run."""
    if len(groups) == 1 and bands[0].runs == 1:
        return
    heading = describe(bands[0].runs) if len({one.runs for one in bands}) == 1 and bands[0].runs > 1 else None
    if len(groups) == 1:
        unfinished = len(groups[0].runs) - len(groups[0].finished)
        note = f", {unfinished} not finished" if unfinished else ""
        axes.legend([axes.lines[0]], [f"{heading}{note}"], loc="best")
        return
    wide = max(len(_legend_entry(group, bands)) for group in groups) > INSIDE
    if len(groups) <= 4 and not wide:
        axes.legend(title=heading, loc="best", alignment="left")
    else:
        figure.legend(title=heading, loc="outside lower left" if wide else "outside right upper", alignment="left")
