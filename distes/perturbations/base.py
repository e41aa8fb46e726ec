"""Base class of perturbations: a numbered family of Gaussian directions in parameter space."""

from abc import ABC, abstractmethod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distes.errors import ConfigurationError
from distes.noise.to_device import to_device
from distes.perturbations.row_layout import RowLayout
from distes.policies.layout import Layout
from distes.population import Floats

BLOCK = 2**26  # numbers gathered at a time on a GPU: 256 MB


class Perturbation(ABC):
    """Directions by number. Axes: P parameters, N directions, B members, Q numbers of a member's row.

    Its law is `weighted_sum(ids, weights) == weights @ directions(ids)`, up to rounding; the sums of squares and of
    bits obey the same law for squared directions and for bits. Over all numbers a direction has mean 0 and covariance
    I. Every method's result depends only on its arguments and the noise table.

    Attributes:
        device: The device that forms weighted sums, unless a call names another.
        layout: The layout of the policy's parameters.
    """

    device: str | torch.device = "cpu"
    layout: Layout

    @property
    @abstractmethod
    def number_of_directions(self) -> int:
        """The number of directions; they are numbered from 0."""

    def choose(self, draws_N: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Maps uniform 64-bit draws, (N,), to numbers of directions, (N,) int64."""
        return (draws_N % np.uint64(self.number_of_directions)).astype(np.int64)

    @property
    @abstractmethod
    def row_layout(self) -> RowLayout:
        """What a member's row holds, and where."""

    @property
    def member_size(self) -> int:
        """Q, the length of a member's row."""
        return self.row_layout.size

    @abstractmethod
    def directions(self, ids_N: NDArray[np.int64]) -> Floats:
        """Returns the directions, (N, P), float32."""

    @abstractmethod
    def perturb(self, centre_P: Tensor, scale_B: Tensor, ids_B: NDArray[np.int64], out_BQ: Tensor) -> None:
        """Writes the rows of members centre_P + scale_B[b] * direction(ids_B[b]), on the device of `out_BQ`.

        Args:
            centre_P: float32, (P,).
            scale_B: float32, (B,); or (B, P), one number per parameter.
            ids_B: Numbers of directions, (B,), on the host.
            out_BQ: float32, (B, Q); the numbers of a row are contiguous, and rows may have gaps between them.
        """

    @abstractmethod
    def parameters(self, centre_P: Tensor, rows_BQ: Tensor) -> Tensor:
        """Materialises members from their rows: (B, Q) -> (B, P); may return the rows themselves."""

    @abstractmethod
    def weighted_sum(
        self, ids_N: NDArray[np.int64], weights_N: NDArray[np.float64], device: str | torch.device | None = None
    ) -> Floats:
        """Returns the sum of weights_N[i] * direction(ids_N[i]), (P,), without forming (N, P).

        Its bits depend on the kind of device, and not on the number of threads or the size of blocks.

        Args:
            ids_N: Numbers of directions, (N,).
            weights_N: Their weights, (N,).
            device: The device that adds up; None for `self.device`.
        """

    @abstractmethod
    def weighted_sum_of_squares(
        self, ids_N: NDArray[np.int64], weights_N: NDArray[np.float64], device: str | torch.device | None = None
    ) -> Floats:
        """Returns the sum of weights_N[i] * direction(ids_N[i]) ** 2, (P,), as gradients of sigma need it.

        Takes the arguments of `weighted_sum`.

        Raises:
            ConfigurationError: The perturbation takes one sigma for all parameters.
        """

    def weighted_bits(
        self,
        ids_N: NDArray[np.int64],
        weights_N: NDArray[np.float64],
        thresholds_P: Floats,
        device: str | torch.device | None = None,
    ) -> Floats:
        """Returns the sum of weights_N[i] * (direction(ids_N[i]) > thresholds_P), (P,), as searches of masks need it.

        Takes the arguments of `weighted_sum`, and a threshold for each parameter, (P,) float32.

        Raises:
            ConfigurationError: The perturbation cannot form this sum, as one whose directions are products of factors.
        """
        raise ConfigurationError(
            f"The perturbation {type(self).__name__} cannot sum the bits of its directions: use --perturbation Dense."
        )


def gather(table: Tensor, starts_B: NDArray[np.int64], out_BL: Tensor) -> None:
    """Copies slices of a table on its device: out[b] = table[starts[b] : starts[b] + L], with out (B, L)."""
    length = out_BL.shape[1]
    windows = table.as_strided((table.numel() - length + 1, length), (1, 1))
    starts = to_device(starts_B, table.device)
    step = max(1, BLOCK // length)
    for first in range(0, len(starts_B), step):
        out_BL[first : first + step] = windows.index_select(0, starts[first : first + step])
