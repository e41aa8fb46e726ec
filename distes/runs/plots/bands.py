"""One curve of several seeds: its middle and a band around it.

Axes: R runs, G points of a common grid.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FEWEST_FOR_QUARTILES = 4  # runs; of fewer the band shows all
MOST_POINTS = 10_000  # of the grid; several runs have several times that, and all of them have values there
COLUMNS = 200  # that points are thinned to: a column of a picture's width is little wider than a line is thick


@dataclass(frozen=True)
class Curve:
    """A metric of one run.

    Attributes:
        x: Where it was recorded, (n,), ascending.
        y: The values, (n,).
        ended: Whether the run has ended. Its last value then stands for all later x, too.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    ended: bool = True

    def smoothed(self, window: int) -> "Curve":
        """The curve with each value replaced by the mean of the last `window` values up to it."""
        sums = np.concatenate([[0.0], np.cumsum(self.y)])
        last = np.arange(1, len(self.y) + 1)
        first = np.maximum(last - window, 0)
        return Curve(self.x, (sums[last] - sums[first]) / (last - first), self.ended)


@dataclass(frozen=True)
class Band:
    """The curve of a group.

    Attributes:
        x: Points of the grid, (G,), ascending.
        middle: The median of the runs' values, or their mean for fewer than four runs, (G,).
        low: The first quartile, or the minimum, (G,).
        high: The third quartile, or the maximum, (G,).
        runs: Number of runs.
    """

    x: NDArray[np.float64]
    middle: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    runs: int


def describe(runs: int) -> str:
    """What middle and band of a number of runs are, in words."""
    if runs == 1:
        return "1 seed"
    if runs < FEWEST_FOR_QUARTILES:
        return f"mean and range of {runs} seeds"
    return f"median and quartiles of {runs} seeds"


def band(curves: Sequence[Curve]) -> Band:
    """Summarises the curves of some runs on the grid of all their points.

    Between its points a run is interpolated linearly. The grid begins where all runs have begun. A run that has ended
    keeps its last value, so that a run which reaches its target early counts to the end; one that has not ended counts
    up to its last point.

    Args:
        curves: One per run; each has a point.
    """
    grid_G = _grid(curves)
    values_RG = np.array(
        [np.interp(grid_G, one.x, one.y, left=np.nan, right=one.y[-1] if one.ended else np.nan) for one in curves]
    )
    if len(curves) < FEWEST_FOR_QUARTILES:
        middle, low, high = (reduce(values_RG, axis=0) for reduce in (np.nanmean, np.nanmin, np.nanmax))
    else:
        low, middle, high = np.nanquantile(values_RG, (0.25, 0.5, 0.75), axis=0)
    return thinned(Band(grid_G, middle, low, high, len(curves)))


def thinned(whole: Band, columns: int = COLUMNS) -> Band:
    """The points of a band that show in a picture: of each column the peaks and the dips, at most four points.

    They are where the lower edge is lowest, where the upper edge is highest, and where the middle is either. The first
    point and the last stay, too. A vector picture of a long run is then as small as that of a short one, and shows the
    peaks, which a choice of every n-th point would lose.

    Args:
        whole: All points.
        columns: Number of columns of equal width that the range of x is divided into.
    """
    points = len(whole.x)
    if points <= columns:
        return whole
    column_G = np.minimum((whole.x - whole.x[0]) / (whole.x[-1] - whole.x[0]) * columns, columns - 1).astype(int)
    keep: list[NDArray[np.int64]] = [np.array([0, points - 1])]
    for key_G in (whole.low, -whole.high, whole.middle, -whole.middle):
        order_G = np.lexsort((key_G, column_G))  # by column, and within it from the least to the greatest
        keep.append(order_G[np.unique(column_G, return_index=True)[1]])
    shown = np.unique(np.concatenate(keep))
    return Band(whole.x[shown], whole.middle[shown], whole.low[shown], whole.high[shown], whole.runs)


def _grid(curves: Sequence[Curve]) -> NDArray[np.float64]:
    points: NDArray[np.float64] = np.unique(np.concatenate([one.x for one in curves]))
    begun: NDArray[np.float64] = points[points >= max(one.x[0] for one in curves)]
    if len(begun) > MOST_POINTS:
        begun = begun[np.unique(np.linspace(0, len(begun) - 1, MOST_POINTS).round().astype(int))]
    return begun
