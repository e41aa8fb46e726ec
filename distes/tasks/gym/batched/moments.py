"""The moments of numbers from the rows of a batched simulator: of observations, or of discounted returns.

Two ways to add up, both in float64. Where there is a row for each episode, blocks of steps are added up as a whole,
which is fast, and whose last bits depend on the rows that run beside each other. Where a number of rows is chosen, each
episode is added up by itself, step by step, and the episodes in the order of their numbers: so the row that ran an
episode, and the episodes beside it, change no bit.

Axes: R rows in use, J episodes of an evaluation, O numbers of a row.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distes.population import Moments
from distes.tasks.gym.batched.columns import Columns
from distes.tasks.gym.batched.observers import Observer
from distes.tasks.gym.episodes.normalization import ObservationSums, TensorSums


class EpisodeSums(ObservationSums):
    """Count, sum and sum of squares of each episode's numbers."""

    def __init__(self, size: int, episodes: int, device: torch.device, always_finite: bool = False) -> None:
        """Starts with no episode.

        Args:
            size: O.
            episodes: J.
            device: Of all tensors.
            always_finite: Whether all numbers are finite; otherwise rows with NaN or infinity are left out.
        """
        self._always_finite = always_finite
        self._sum_2JO = torch.zeros(2, episodes + 1, size, dtype=torch.float64, device=device)
        self._count_J = torch.zeros(episodes + 1, dtype=torch.int64, device=device)

    def start(self, rows: int) -> None:
        """Starts an episode in each of this many rows."""
        self._sum_2RO = self._sum_2JO.new_zeros(2, rows, self._sum_2JO.shape[2])
        self._count_R = self._count_J.new_zeros(rows)

    def add(self, seen_RO: Tensor, counts_R: Tensor) -> None:
        """Adds a step of the rows that count, a mask."""
        if not self._always_finite:
            counts_R = counts_R & seen_RO.isfinite().all(1)
        x_RO = torch.where(counts_R.unsqueeze(1), seen_RO, 0).double()
        self._sum_2RO[0].add_(x_RO)
        self._sum_2RO[1].addcmul_(x_RO, x_RO)
        self._count_R.add_(counts_R)

    def settle(self, job_R: Tensor) -> None:
        """Writes the sums of row r to the episode job_R[r]."""
        self._sum_2JO[:, job_R] = self._sum_2RO
        self._count_J[job_R] = self._count_R

    def renew(self, new_R: Tensor) -> None:
        """Starts other episodes in some rows, a mask."""
        self._sum_2RO.masked_fill_(new_R.unsqueeze(1), 0)
        self._count_R.masked_fill_(new_R, 0)

    def keep(self, rows: Tensor) -> None:
        """Keeps only these rows, int64, in this order."""
        self._sum_2RO, self._count_R = self._sum_2RO[:, rows], self._count_R[rows]

    def _totals(self) -> tuple[int, NDArray[np.float64], NDArray[np.float64]]:
        sum_O, squares_O = self._sum_2JO[:, :-1].sum(1).cpu().numpy()
        return int(self._count_J[:-1].sum()), sum_O, squares_O


class ObservedMoments(Observer):
    """The moments of the observations by which the observed episodes act."""

    def __init__(self, observed_J: NDArray[np.bool_], size: int, *, alone: bool, always_finite: bool) -> None:
        """Counts nothing yet.

        Args:
            observed_J: Which episodes are observed.
            size: O.
            alone: Whether each episode is added up by itself.
            always_finite: Whether all observations are finite.
        """
        self._observed_J, self._size = observed_J, size
        self._alone, self._always_finite = alone, always_finite
        self._episodes: EpisodeSums | None = None
        self._blocks: TensorSums | None = None

    def begin(self, episodes: int, device: torch.device) -> None:
        """See the base class."""
        if self._alone:
            self._episodes = EpisodeSums(self._size, episodes, device, self._always_finite)
            self._counts_J = torch.from_numpy(np.append(self._observed_J, False)).to(device)
        else:
            self._blocks = TensorSums(self._size, device)

    def start(self, columns: Columns) -> None:
        """See the base class."""
        if self._episodes is not None:
            self._episodes.start(columns.rows)
        if self._blocks is not None:
            self._job_R = columns.job_R.cpu().numpy()
            self._blocks.watch(self._observed_J[self._job_R])

    def act(self, columns: Columns) -> None:
        """See the base class."""
        if self._episodes is not None:
            self._episodes.add(columns.seen_RO, columns.running_R & self._counts_J[columns.job_R])
        if self._blocks is not None:
            self._blocks.add(columns.seen_RO, columns.running_R)

    def settle(self, columns: Columns) -> None:
        """See the base class."""
        if self._episodes is not None:
            self._episodes.settle(columns.job_R)

    def renew(self, new_R: Tensor) -> None:
        """See the base class."""
        if self._episodes is not None:
            self._episodes.renew(new_R)

    def keep(self, rows: Tensor) -> None:
        """See the base class."""
        if self._episodes is not None:
            self._episodes.keep(rows)
        if self._blocks is not None:
            self._job_R = self._job_R[rows.cpu().numpy()]
            self._blocks.watch(self._observed_J[self._job_R])

    def moments(self) -> Moments:
        """The moments of all observations so far."""
        sums = self._episodes or self._blocks
        assert sums is not None
        return sums.moments()
