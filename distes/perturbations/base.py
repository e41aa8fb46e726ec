"""What a perturbation is: a numbered family of Gaussian directions in parameter space."""

from abc import ABC, abstractmethod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distes.perturbations.row_layout import RowLayout
from distes.policies.layout import Layout

Floats = NDArray[np.float32]
BLOCK = 2**26  # numbers gathered at a time on a GPU: 256 MB


class Perturbation(ABC):
    """Directions by number. Axes: P parameters, N directions, B members, Q numbers of a member's row.

    Its law: `weighted_sum(ids, weights) == weights @ directions(ids)`, up to rounding, and likewise for squares; and
    each direction has mean 0 and covariance I over the numbers. What any of them returns depends on nothing but its
    arguments and the noise table.

    Attributes:
        device: Where weighted sums are formed, unless a call names another place.
        layout: Of the policy's parameters.
    """

    device: str | torch.device = "cpu"
    layout: Layout

    @property
    @abstractmethod
    def number_of_directions(self) -> int:
        """How many directions there are: valid numbers are 0 to one less."""

    def choose(self, draws_N: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Turns uniform 64-bit draws into numbers of directions."""
        return (draws_N % np.uint64(self.number_of_directions)).astype(np.int64)

    @property
    @abstractmethod
    def row_layout(self) -> RowLayout:
        """What a member's row holds, and where."""

    @property
    def member_size(self) -> int:
        """Q, how many numbers make a member's row."""
        return self.row_layout.size

    @abstractmethod
    def directions(self, ids_N: NDArray[np.int64]) -> Floats:
        """Returns the directions, (N, P), float32."""

    @abstractmethod
    def perturb(self, centre_P: Tensor, scale_B: Tensor, ids_B: NDArray[np.int64], out_BQ: Tensor) -> None:
        """Writes the rows of members centre_P + scale_B[b] * direction(ids_B[b]), on the device of `out_BQ`.

        Args:
            centre_P: float32.
            scale_B: float32, (B,); or (B, P), a number for every parameter.
            ids_B: Numbers of directions; on the host.
            out_BQ: Where to; its rows lie in memory one after the other, with or without gaps.
        """

    @abstractmethod
    def parameters(self, centre_P: Tensor, rows_BQ: Tensor) -> Tensor:
        """Materialises members from their rows: (B, Q) -> (B, P); the rows themselves where nothing is to be done."""

    @abstractmethod
    def weighted_sum(
        self, ids_N: NDArray[np.int64], weights_N: NDArray[np.float64], device: str | torch.device | None = None
    ) -> Floats:
        """Returns the sum of weights_N[i] * direction(ids_N[i]), (P,), without forming (N, P).

        Its bits depend on no thread and no block, though on the kind of device.

        Args:
            ids_N: Numbers of directions.
            weights_N: As many.
            device: Where to add up; None for this perturbation's own.
        """

    @abstractmethod
    def weighted_sum_of_squares(
        self, ids_N: NDArray[np.int64], weights_N: NDArray[np.float64], device: str | torch.device | None = None
    ) -> Floats:
        """Returns the sum of weights_N[i] * direction(ids_N[i]) ** 2, (P,): what moves a sigma of each parameter.

        Formed as `weighted_sum` is, and with the same arguments.

        Raises:
            ConfigurationError: Members of these directions have one sigma for all parameters.
        """


def gather(table: Tensor, starts_B: NDArray[np.int64], out_BL: Tensor) -> None:
    """Copies slices of a table, in one go and on its device: out[b] = table[starts[b] : starts[b] + L]."""
    length = out_BL.shape[1]
    windows = table.as_strided((table.numel() - length + 1, length), (1, 1))
    starts = torch.tensor(starts_B).to(table.device)
    step = max(1, BLOCK // length)
    for first in range(0, len(starts_B), step):
        out_BL[first : first + step] = windows.index_select(0, starts[first : first + step])
