"""Standardised inputs: less the mean, over the deviation, of the rows that a policy is trained on.

Axes: R rows, O observation.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from distes.population import Floats
from distes.tasks.spaces import complete
from distes.tasks.spaces.observations import Observation

LEAST = 0.1  # of the deviation of all numbers together: a number that hardly varies is divided by that


class StandardizedObservation(Observation):
    """An observation of another kind, each of whose numbers is standardised."""

    def __init__(self, of: Observation, batches: Iterable[Tensor]) -> None:
        """Measures mean and deviation.

        Args:
            of: What writes the numbers.
            batches: Rows as `of` writes them, (R, *shape) float32, of one training part.
        """
        self.shape, self.always_finite, self._of = of.shape, of.always_finite, of
        mean_O, std_O = _moments(batches, of.shape)
        self._mean_O, self._std_O = mean_O.astype(np.float32), std_O.astype(np.float32)
        self._tensors: dict[torch.device, tuple[Tensor, Tensor]] = {}

    def count(self, observation: Any) -> int | None:
        """See the base class."""
        return self._of.count(observation)

    def module(self) -> nn.Module:
        """See the base class."""
        mean, std = torch.from_numpy(self._mean_O), torch.from_numpy(self._std_O)
        return nn.Sequential(self._of.module(), complete.Normalize(mean, std, float("inf")))

    def write(self, observation: Any, row: Floats) -> None:
        """See the base class."""
        self._of.write(observation, row)
        row -= self._mean_O
        row /= self._std_O

    def write_batch(self, observation: Any, rows: Tensor) -> None:
        """See the base class."""
        if rows.device not in self._tensors:
            both = torch.from_numpy(self._mean_O), torch.from_numpy(self._std_O)
            self._tensors[rows.device] = both[0].to(rows.device), both[1].to(rows.device)
        mean_O, std_O = self._tensors[rows.device]
        self._of.write_batch(observation, rows)
        rows.sub_(mean_O).div_(std_O)


def _moments(batches: Iterable[Tensor], shape: tuple[int, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and deviation of each number; the latter is at least `LEAST` of that of all numbers, or 1 if none varies."""
    count, sum_O, squares_O = 0, np.zeros(shape), np.zeros(shape)
    for batch in batches:
        rows = batch.numpy().astype(np.float64)
        count += len(rows)
        sum_O += rows.sum(0)
        squares_O += np.square(rows).sum(0)
    mean_O = sum_O / count
    variance_O = np.maximum(squares_O / count - mean_O**2, 0)
    overall = np.sqrt(max(squares_O.mean() / count - mean_O.mean() ** 2, 0))
    return mean_O, np.maximum(np.sqrt(variance_O), LEAST * overall if overall > 0 else 1.0)
