"""Normalisation of observations: sums in the episodes, running moments in the driver, and what a policy sees.

Mean and variance are merged as in Chan, Golub and LeVeque 1983 ("Algorithms for computing the sample variance"),
equation 2.1, in the order of chunks, so that the result does not depend on which worker computed them.

Axes: R rows (environments), W rows that are observed, T steps, O observation. Observations are vectors.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distes.errors import CheckpointError
from distes.population import Floats, Moments, Normalization

CLIP = 5.0  # normalised observations are clipped to [-5, 5], as in OpenAI's released code
MIN_VARIANCE = 1e-2  # the same code: a standard deviation below 0.1 counts as 0.1
SUM_STEPS = 64  # steps whose observations are added up at a time
SUM_NUMBERS = 2**24  # and the most numbers of a tensor that holds them


class Normalizer:
    """clip((observation - mean) / std, -5, 5), float32; in NumPy or, where a device is given, in torch."""

    def __init__(self, normalization: Normalization, device: torch.device | None = None) -> None:
        """Places mean and standard deviation where the observations are.

        Args:
            normalization: Mean and standard deviation.
            device: The device of the tensors to normalise; None for NumPy arrays.
        """
        self._mean_O: Any = normalization.mean_O
        self._std_O: Any = normalization.std_O
        self._library: Any = np
        if device is not None:
            self._mean_O = torch.tensor(normalization.mean_O, device=device)
            self._std_O = torch.tensor(normalization.std_O, device=device)
            self._library = torch

    def __call__(self, observation: Any, out: Any = None) -> Any:
        """Returns the normalised observations.

        Args:
            observation: (..., O), float32.
            out: Where to write them, of the same shape; may be `observation`. None for a new array or tensor.
        """
        seen = self._library.subtract(observation, self._mean_O, out=out)
        self._library.divide(seen, self._std_O, out=seen)
        return self._library.clip(seen, -CLIP, CLIP, out=seen)


def normalized_together(episodes: Sequence[Floats]) -> list[Floats]:
    """Normalises observations by the mean and the standard deviation of all of them.

    Args:
        episodes: (T, O) each, at least one step in all.
    """
    seen_TO = np.concatenate(episodes).astype(np.float64)
    stat = RunningStat(seen_TO.shape[1])
    stat.merge(Moments(len(seen_TO), seen_TO.mean(0), np.square(seen_TO - seen_TO.mean(0)).sum(0)))
    normalization = stat.normalization()
    assert normalization is not None
    normalizer = Normalizer(normalization)
    return [normalizer(episode_TO) for episode_TO in episodes]


class ObservationSums(ABC):
    """Count, sum and sum of squares of observations, in float64.

    An observation with NaN or infinity in it is left out. Each subclass adds up in an order of its own.
    """

    @abstractmethod
    def _totals(self) -> tuple[int, NDArray[np.float64], NDArray[np.float64]]:
        """Count, sum (O,) and sum of squares (O,) of all observations so far."""

    def moments(self) -> Moments:
        """Returns the moments of all observations so far."""
        count, sum_O, squares_O = self._totals()
        mean_O = sum_O / max(count, 1)
        return Moments(count, mean_O, np.maximum(squares_O - count * mean_O**2, 0))


class ArraySums(ObservationSums):
    """Sums of NumPy arrays, of which the number of rows may change from step to step; a block of steps at a time."""

    def __init__(self, size: int) -> None:
        """Starts with no observation.

        Args:
            size: O.
        """
        self._count, self._sum_O, self._squares_O = 0, np.zeros(size), np.zeros(size)
        self._block: list[NDArray[np.floating[Any]]] = []

    def watch(self, observed_R: NDArray[np.bool_]) -> None:
        """Chooses the rows to observe, until the next call.

        Args:
            observed_R: Whether to observe each of the rows that `add` will be given.
        """
        self._row_W = None if observed_R.all() else np.flatnonzero(observed_R)

    def add(self, seen_RO: NDArray[np.floating[Any]]) -> None:
        """Adds one step's observations; they are copied."""
        self._block.append(seen_RO.copy() if self._row_W is None else seen_RO[self._row_W])
        if len(self._block) == SUM_STEPS:
            self._add_up()

    def _totals(self) -> tuple[int, NDArray[np.float64], NDArray[np.float64]]:
        self._add_up()
        return self._count, self._sum_O, self._squares_O

    def _add_up(self) -> None:
        if not self._block:
            return
        x_TO = np.concatenate(self._block, dtype=np.float64)
        finite_T = np.isfinite(x_TO).all(axis=1)
        if not finite_T.all():
            x_TO = x_TO[finite_T]
        self._count += len(x_TO)
        self._sum_O += x_TO.sum(0)
        self._squares_O += np.einsum("to,to->o", x_TO, x_TO)
        self._block.clear()


class TensorSums(ObservationSums):
    """Sums of tensors on one device, without waiting for it; rows whose episode is over are masked.

    A block of steps is added up at a time, so that the last bits depend on the rows that run beside each other.
    """

    def __init__(self, size: int, device: torch.device) -> None:
        """Starts with no observation.

        Args:
            size: O.
            device: The device of the observations.
        """
        self._size, self._filled = size, 0
        self._count = torch.zeros((), dtype=torch.int64, device=device)
        self._sum_O = torch.zeros(size, dtype=torch.float64, device=device)
        self._squares_O = torch.zeros_like(self._sum_O)

    def watch(self, observed_R: NDArray[np.bool_]) -> None:
        """Chooses the rows to observe, until the next call.

        Args:
            observed_R: Whether to observe each of the rows that `add` will be given.
        """
        self._add_up()
        device, rows = self._sum_O.device, int(np.count_nonzero(observed_R))
        self._row_W = None if rows == len(observed_R) else torch.from_numpy(np.flatnonzero(observed_R)).to(device)
        steps = max(1, min(SUM_STEPS, SUM_NUMBERS // max(1, rows * self._size)))
        self._block_TWO = torch.empty(steps, rows, self._size, dtype=torch.float32, device=device)
        self._running_TW = torch.empty(steps, rows, dtype=torch.bool, device=device)
        self._steps = list(zip(self._block_TWO, self._running_TW, strict=True))

    def add(self, seen_RO: Tensor, running_R: Tensor) -> None:
        """Adds one step's observations of the rows that run; they are copied."""
        block_WO, running_W = self._steps[self._filled]
        if self._row_W is None:
            block_WO.copy_(seen_RO)
            running_W.copy_(running_R)
        else:
            torch.index_select(seen_RO, 0, self._row_W, out=block_WO)
            torch.index_select(running_R, 0, self._row_W, out=running_W)
        self._filled += 1
        if self._filled == len(self._steps):
            self._add_up()

    def _totals(self) -> tuple[int, NDArray[np.float64], NDArray[np.float64]]:
        self._add_up()
        return int(self._count), self._sum_O.cpu().numpy(), self._squares_O.cpu().numpy()

    def _add_up(self) -> None:
        if self._filled == 0:
            return
        block_TWO = self._block_TWO[: self._filled]
        counts_TW = self._running_TW[: self._filled] & block_TWO.isfinite().all(-1)
        x_TWO = block_TWO.double().masked_fill_(~counts_TW.unsqueeze(-1), 0)
        self._count += counts_TW.sum()
        self._sum_O += x_TWO.sum((0, 1))
        self._squares_O += x_TWO.square_().sum((0, 1))
        self._filled = 0


class RunningStat:
    """Mean and sum of squared deviations of all observations of a run so far, in float64."""

    def __init__(self, size: int, of: str = "observations") -> None:
        """Starts with no observation.

        Args:
            size: O.
            of: What is observed, for messages.
        """
        self._of, self.count = of, 0
        self.mean_O = np.zeros(size)
        self.m2_O = np.zeros(size)

    def merge(self, other: Moments) -> None:
        """Merges the moments of further observations.

        Raises:
            EvaluationError: They are not finite; nothing has changed.
        """
        other.require_finite()
        if other.count == 0:
            return
        total = self.count + other.count
        delta_O = other.mean_O - self.mean_O
        self.mean_O = self.mean_O + delta_O * (other.count / total)
        self.m2_O = self.m2_O + other.m2_O + delta_O**2 * (self.count * other.count / total)
        self.count = total

    def normalization(self) -> Normalization | None:
        """Returns mean and floored standard deviation in float32, or None before the first observation."""
        if self.count == 0:
            return None
        std_O = np.sqrt(np.maximum(self.m2_O / self.count, MIN_VARIANCE))
        return Normalization(self.mean_O.astype(np.float32), std_O.astype(np.float32))

    def state_dict(self) -> dict[str, Any]:
        """Returns the state, for a checkpoint."""
        return {"count": self.count, "mean_O": self.mean_O, "m2_O": self.m2_O}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores a state that `state_dict` returned.

        Raises:
            CheckpointError: A mean or a sum of squares is NaN or infinite.
        """
        if not (np.isfinite(state["mean_O"]).all() and np.isfinite(state["m2_O"]).all()):
            raise CheckpointError(
                f"The checkpoint's statistics of {self._of} are not finite, so nothing could be learnt: go on from an "
                "older checkpoint, or start anew."
            )
        self.count, self.mean_O, self.m2_O = int(state["count"]), np.array(state["mean_O"]), np.array(state["m2_O"])


def every_fraction(count: int, fraction: float) -> NDArray[np.bool_]:
    """Returns (count,) bool with ceil(fraction * count) True, evenly spaced, so that chunks share the extra work."""
    marked = math.ceil(fraction * count - 1e-9)  # 0.07 of 100 is 7, and 7.000000000000001 in floats
    edges = np.arange(count + 1) * marked // max(count, 1)
    return np.diff(edges) > 0
