"""The path of a run's centre through parameter space, on the two axes along which it has moved most.

The axes are the principal components of the centres (Pearson 1901), from a singular value decomposition. Li et al. 2018
(arXiv:1712.09913, section 7) show why random axes would not do: the path would look like a point.

Axes: C centres, P parameters, 2 principal components.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from distes.errors import RunDirectoryError
from distes.runs.checkpoint import Checkpoints
from distes.runs.groups import score_name, task_and_strategy
from distes.runs.history import History, as_float, read_history
from distes.runs.plots.style import GREY, axes_of, compact, styled

FEWEST = 3  # centres, since two lie on a line
KEEP = "--keep_checkpoints_every 1"


def plot_path(run_dir: Path | str, *, title: str | None = None, figure: Figure | None = None) -> Figure:
    """Draws the path of the centre on two principal axes, coloured by its mean return.

    It consists of the centres in the checkpoints that the run has kept; `--keep_checkpoints_every 1` keeps one of each
    generation. Agents of novelty search have a path each.

    Args:
        run_dir: The run directory.
        title: The title; None names task and strategy.
        figure: An empty figure to draw in, such as `pyplot.figure()`; None makes one that no window shows.

    Returns:
        The figure.

    Raises:
        RunDirectoryError: The run cannot be read, or has fewer than three checkpoints with a centre.
    """
    run = read_history(run_dir)
    generations_C, paths = _centres(run)
    points = np.concatenate(paths)
    on_axes, shares = principal_axes(points)
    fitness_C = _fitness(run, generations_C)
    with styled():
        figure, axes = axes_of(figure)
        count = len(generations_C)
        for index in range(len(paths)):
            drawn = _draw(axes, on_axes[index * count : (index + 1) * count], fitness_C)
        bar = figure.colorbar(drawn, ax=axes, label=f"mean {score_name(run)} of the centre", format=compact, aspect=30)
        bar.outline.set_visible(False)
        for axis, share, name in zip("xy", shares, ("first", "second"), strict=True):
            axes.set(**{f"{axis}label": f"{name} principal axis ({share:.0%} of variance)"})
        axes.set_aspect("equal", adjustable="datalim")
        axes.set_title(title or f"{task_and_strategy(run)}: path of the centre", fontweight="bold")
    return figure


def principal_axes(points_CP: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Projects points onto the two axes of their largest variance.

    Args:
        points_CP: At least two points, (C, P).

    Returns:
        The coordinates, (C, 2), whose origin is the first point, and each axis' share of the variance, (2,).
    """
    centred_CP = points_CP - points_CP.mean(axis=0)
    _, singular, axes_2P = np.linalg.svd(centred_CP, full_matrices=False)
    axes_2P = axes_2P[:2]
    backwards_2 = axes_2P @ (points_CP[-1] - points_CP[0]) < 0
    axes_2P = np.where(backwards_2[:, None], -axes_2P, axes_2P)  # so that the path goes to the right, and up
    variance = singular**2
    coordinates_C2 = (points_CP - points_CP[0]) @ axes_2P.T
    shares_2 = variance[:2] / variance.sum()
    if coordinates_C2.shape[1] < 2:  # of a single parameter
        coordinates_C2 = np.pad(coordinates_C2, ((0, 0), (0, 1)))
        shares_2 = np.pad(shares_2, (0, 1))
    return coordinates_C2, shares_2


def _centres(run: History) -> tuple[NDArray[np.float64], list[NDArray[np.float64]]]:
    """The generations of the checkpoints, (C,), and for each agent the centres after them, (C, P)."""
    found: dict[int, list[NDArray[np.float64]]] = {}
    for generation, state in Checkpoints(run.path / "checkpoints").load_all():
        if centres := list(_of_state(state)):
            found[generation] = centres
    paths = [np.array(path) for path in zip(*found.values(), strict=True)]
    if len(found) < FEWEST or not any(np.ptp(path, axis=0).any() for path in paths):
        have = f"{len(found)} with a centre that moves" if found else "none with a centre"
        raise RunDirectoryError(
            f"A path needs {FEWEST} checkpoints, and {run.path / 'checkpoints'} has {have}. A run that keeps one of "
            f"each generation: {KEEP}. (Genetic algorithms have no centre.)"
        )
    return np.array(list(found), np.float64), paths


def _of_state(state: dict[str, Any]) -> Iterator[NDArray[np.float64]]:
    """The centres that a strategy's state holds: one, one per agent, or none."""
    strategy = state.get("strategy")
    states = strategy.get("agents", [strategy]) if isinstance(strategy, dict) else []
    for one in states:
        if isinstance(one, dict) and isinstance(one.get("centre_P"), np.ndarray):
            yield one["centre_P"].astype(np.float64)


def _fitness(run: History, generations_C: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean fitness of the centre after each generation, interpolated between evaluations, (C,)."""
    generation, mean = run.column("eval/mean")
    after = generation - 1  # the centre that is evaluated along with a generation is that before its step
    ended, final = (as_float((run.result or {}).get(key)) for key in ("generation", "eval_mean"))
    if np.isfinite([ended, final]).all():
        after, mean = np.append(after, ended), np.append(mean, final)
    return np.interp(generations_C, after, mean)


def _draw(axes: Axes, points_C2: NDArray[np.float64], fitness_C: NDArray[np.float64]) -> Any:
    """Draws one path; begin and end have marks. Returns what a colour bar needs."""
    pieces = np.stack([points_C2[:-1], points_C2[1:]], axis=1)
    axes.add_collection(LineCollection(list(pieces), colors=GREY, linewidths=0.8, zorder=2))
    drawn = axes.scatter(points_C2[:, 0], points_C2[:, 1], c=fitness_C, cmap="viridis", s=18, zorder=3)
    for name, point, before in (("start", points_C2[0], points_C2[1]), ("end", points_C2[-1], points_C2[-2])):
        away = (point - before) / (np.linalg.norm(point - before) or 1.0)  # the words stand beyond the path's ends
        axes.annotate(name, point, xytext=away * 18, textcoords="offset points", ha="center", va="center", fontsize=9)
        axes.scatter(point[0], point[1], s=60, facecolors="none", edgecolors="black", linewidths=1.2, zorder=4)
    return drawn
