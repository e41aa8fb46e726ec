"""What a perturbation is: a numbered family of Gaussian directions in parameter space."""

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class Perturbation(ABC):
    """Directions by number. Axes: P parameters, N directions.

    Its law: `weighted_sum(ids, weights) == weights @ directions(ids)`, up to rounding; and each direction has mean 0
    and covariance I over the numbers. What either returns depends on nothing but its arguments and the noise table.
    """

    @property
    @abstractmethod
    def number_of_directions(self) -> int:
        """How many directions there are: valid numbers are 0 to one less."""

    @abstractmethod
    def directions(self, ids_N: NDArray[np.int64]) -> Floats:
        """Returns the directions, (N, P), float32."""

    @abstractmethod
    def perturb(self, centre_P: Floats, scale: float | Floats, id: int, out_P: Floats) -> None:
        """Writes centre_P + scale * direction(id) into `out_P`; `scale` is a number or a vector of P."""

    @abstractmethod
    def weighted_sum(self, ids_N: NDArray[np.int64], weights_N: NDArray[np.float64]) -> Floats:
        """Returns the sum of weights_N[i] * direction(ids_N[i]), (P,), without forming (N, P).

        The additions of a coordinate come in the order of i, so its bits depend on no thread and no block.
        """
