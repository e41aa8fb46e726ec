"""Weighted recombination of the best members, and evolution paths (Hansen, arXiv:1604.00772)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Recombination:
    """The best half of the members, each by its weight (Hansen, arXiv:1604.00772, equations 49 and 53).

    Attributes:
        weights_M: Of the best, the second best and so on; positive, they fall, and their sum is 1.
    """

    weights_M: Doubles

    @classmethod
    def of(cls, members: int) -> "Recombination":
        """For so many members, of which half count."""
        parents = members // 2
        weights_M = np.log((members + 1) / 2) - np.log(np.arange(1, parents + 1))
        return cls(weights_M / weights_M.sum())

    @property
    def effective(self) -> float:
        """The variance effective selection mass, 1 / sum of w_i ** 2: of so many random members the mean varies."""
        return float(1 / np.square(self.weights_M).sum())

    def best(self, fitness_NS: Doubles) -> NDArray[np.int64]:
        """Which members they are, the best first; of equals the first.

        Equals do not share their weights here as they do in fitness shaping: where all are equal, sigma would shrink,
        since the mean of all members is nearer to the centre than that of some.
        """
        order_N: NDArray[np.int64] = np.argsort(-fitness_NS[:, 0], kind="stable")
        return order_N[: len(self.weights_M)]


def path_after(path_P: Doubles, rate: float, mass: float, step_P: Doubles) -> Doubles:
    """Forgets a part of a path and adds a step, so that under random selection its variance stays what it is.

    Args:
        path_P: Of the last generation.
        rate: From 0 to 1.
        mass: The variance effective selection mass.
        step_P: The weighted mean of the parents' directions.
    """
    moved_P: Doubles = (1 - rate) * path_P + np.sqrt(rate * (2 - rate) * mass) * step_P
    return moved_P
