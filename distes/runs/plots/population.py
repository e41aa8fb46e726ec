"""The fitness of a run's populations, generation by generation, and the centre's beside it."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from distes.errors import RunDirectoryError
from distes.runs import atomic_files
from distes.runs.groups import score_name, task_and_strategy
from distes.runs.history import History, read_history
from distes.runs.plots.style import COLOURS, GREY, axes_of, number_axes, styled
from distes.runs.population_record import read_index, read_recorded

CENTRE, MEMBERS = COLOURS[1], COLOURS[0]
MOST_DOTS = 20_000  # more would cover each other
BANDS = (("p10", "p90", 0.15, "members: 10th to 90th percentile"), ("p25", "p75", 0.3, "members: middle half"))


def plot_population(run_dir: Path | str, *, title: str | None = None, figure: Figure | None = None) -> Figure:
    """Draws the fitness of the members over generations, and the centre as a line.

    Where the run has kept a record of its populations (`--record_population true`), each member is a dot; of long runs
    evenly spread generations are shown. Otherwise, members are bands between the percentiles of `metrics.jsonl`.

    Args:
        run_dir: The run directory.
        title: The title; None names task and strategy.
        figure: An empty figure to draw in, such as `pyplot.figure()`; None makes one that no window shows.

    Returns:
        The figure.

    Raises:
        RunDirectoryError: The run cannot be read, or has recorded no generation.
        CheckpointError: The record of populations is damaged.
    """
    run = read_history(run_dir)
    dots = _record(run)
    with styled():
        figure, axes = axes_of(figure)
        if dots is None:
            _bands(axes, run)
        else:
            _dots(axes, *dots)
        _centre(axes, run)
        axes.set_xlabel("generations")
        axes.set_ylabel(score_name(run))
        axes.set_title(title or f"{task_and_strategy(run)}: population", fontweight="bold")
        axes.margins(x=0.01)
        axes.set_xlim(left=0)
        number_axes(axes)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        legend = axes.legend(loc="best", alignment="left", framealpha=0.85, frameon=True, edgecolor="none")
        if dots is not None and isinstance(dot := legend.legend_handles[0], PathCollection):
            dot.set_alpha(0.8)  # one dot alone would hardly be seen
            dot.set_sizes([12.0])
    return figure


def _record(run: History) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Generation and fitness of each member that is shown, both (n,); None without a record.

    Raises:
        RunDirectoryError: The record cannot be read.
        CheckpointError: It is damaged.
    """
    path = run.path / "population.bin"
    try:
        index = read_index(path) if path.exists() else {}
    except OSError as error:
        raise RunDirectoryError(f"{path} cannot be read: {atomic_files.reason(error)}.") from error
    if not index:
        return None
    numbers = np.array(sorted(index))
    members = read_recorded(path, int(numbers[-1]), index[int(numbers[-1])]).evaluation.fitness_N2.size
    most = max(2, MOST_DOTS // max(1, members))
    if len(numbers) > most:
        numbers = numbers[np.linspace(0, len(numbers) - 1, most).round().astype(int)]
    generations, fitness = [], []
    for number in numbers.tolist():
        told = read_recorded(path, number, index[number]).evaluation
        known = told.fitness_N2.ravel()
        known = known if told.last_N2 is None else known[~told.last_N2.ravel()]  # those have no fitness of their own
        generations.append(np.full(len(known), number, np.float64))
        fitness.append(known)
    return np.concatenate(generations), np.concatenate(fitness)


def _dots(axes: Axes, generation: NDArray[np.float64], fitness: NDArray[np.float64]) -> None:
    """Draws a dot for each member, fainter the more there are, and their median as a line."""
    numbers, counts = np.unique(generation, return_counts=True)
    alpha = float(np.clip(60 / np.median(counts) * 60 / len(numbers), 0.08, 0.5))
    size = float(np.clip(600 / len(numbers), 2, 12))
    axes.scatter(
        generation,
        fitness,
        s=size,
        color=MEMBERS,
        alpha=alpha,
        linewidths=0,
        rasterized=True,
        label="members",
        zorder=2,
    )
    medians = [float(np.median(fitness[generation == number])) for number in numbers]
    axes.plot(numbers, medians, color=GREY, linewidth=1.0, label="members: median", zorder=3)


def _bands(axes: Axes, run: History) -> None:
    """Draws percentiles; of runs of earlier versions, which have none, range, mean and standard deviation."""
    if "fitness/p50" not in run.numbers:
        names = ("fitness/min", "fitness/max", "fitness/mean", "fitness/std")
        (x, low), (_, high), (_, mean), (_, std) = (run.column(name) for name in names)
        if not len(x) == len(high) == len(mean) == len(std):
            raise RunDirectoryError(f"{run.path / 'metrics.jsonl'} has fitness without a finite range.")
        axes.fill_between(x, low, high, color=MEMBERS, alpha=0.15, linewidth=0, label="members: range")
        axes.fill_between(x, mean - std, mean + std, color=MEMBERS, alpha=0.3, linewidth=0, label="members: mean ± std")
        axes.plot(x, mean, color=MEMBERS, linewidth=1.0)
        return
    for low_name, high_name, alpha, label in BANDS:
        (x, low), (at, high) = run.column(f"fitness/{low_name}"), run.column(f"fitness/{high_name}")
        if not np.array_equal(x, at):
            raise RunDirectoryError(f"{run.path / 'metrics.jsonl'} has percentiles of fitness without their partners.")
        axes.fill_between(x, low, high, color=MEMBERS, alpha=alpha, linewidth=0, label=label)
    axes.plot(*run.column("fitness/p50"), color=MEMBERS, linewidth=1.0, label="members: median")


def _centre(axes: Axes, run: History) -> None:
    """Draws the centre's evaluations, each beside the population that was made around the same centre."""
    if "eval/mean" in run.numbers:
        x, y = run.column("eval/mean")
        marker = "o" if len(x) == 1 else ""
        axes.plot(x, y, color=CENTRE, marker=marker, label="centre: mean of its episodes", zorder=4)
