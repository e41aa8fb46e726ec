"""The fitness of a run's populations, generation by generation, and the centre's beside it."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from distes.errors import RunDirectoryError
from distes.runs.groups import task_name
from distes.runs.history import History, read_history
from distes.runs.plots.style import COLOURS, axes_of, number_axes, styled

CENTRE, MEMBERS = COLOURS[1], COLOURS[0]


def plot_population(run_dir: Path | str, *, title: str | None = None, figure: Figure | None = None) -> Figure:
    """Draws the population's fitness over generations: its range, mean and standard deviation; the centre as a line.

    `metrics.jsonl` holds these numbers and not the fitness of each member, so members are shown as bands.

    Args:
        run_dir: The run directory.
        title: The title; None names task and strategy.
        figure: An empty figure to draw in, such as `pyplot.figure()`; None makes one that no window shows.

    Returns:
        The figure.

    Raises:
        RunDirectoryError: The run cannot be read, or has recorded no generation.
    """
    run = read_history(run_dir)
    with styled():
        figure, axes = axes_of(figure)
        _members(axes, run)
        _centre(axes, run)
        what = "fitness" if run.setting("task") != "Gym" else "return"
        axes.set_xlabel("generations")
        axes.set_ylabel(what)
        axes.set_title(title or f"{task_name(run)}, {run.setting('strategy')}", fontweight="bold")
        axes.set_xlim(left=0)
        axes.margins(x=0.01)
        number_axes(axes)
        axes.legend(loc="best", alignment="left")
    return figure


def _members(axes: Axes, run: History) -> None:
    names = ("fitness/min", "fitness/max", "fitness/mean", "fitness/std")
    (x, low), (_, high), (_, mean), (_, std) = (run.column(name) for name in names)
    if not len(x) == len(high) == len(mean) == len(std):
        raise RunDirectoryError(f"{run.path / 'metrics.jsonl'} has fitness without a finite range.")
    axes.fill_between(x, low, high, color=MEMBERS, alpha=0.14, linewidth=0, label="members: range")
    axes.fill_between(x, mean - std, mean + std, color=MEMBERS, alpha=0.25, linewidth=0, label="members: mean ± std")
    axes.plot(x, mean, color=MEMBERS, linewidth=1.0)


def _centre(axes: Axes, run: History) -> None:
    if "eval/mean" in run.numbers:
        x, y = run.column("eval/mean")
        axes.plot(x, y, color=CENTRE, label="centre: mean of its episodes")
