"""Weighted recombination of the best members, and evolution paths, with the symbols of Hansen's tutorial.

Hansen 2016, "The CMA Evolution Strategy: A Tutorial", arXiv:1604.00772v1. Axes: P parameters, N members, M parents.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Recombination:
    """The recombination weights w_1 to w_mu of the best half of the members (equations 49 and 53).

    Attributes:
        weights_M: w_i of the i-th best member: positive, decreasing, with sum 1. M is the paper's mu.
    """

    weights_M: Doubles

    @classmethod
    def of(cls, members: int) -> "Recombination":
        """Returns the weights for a generation of this many members, lambda in the paper."""
        mu = members // 2
        weights_M = np.log((members + 1) / 2) - np.log(np.arange(1, mu + 1))
        return cls(weights_M / weights_M.sum())

    @property
    def mu_eff(self) -> float:
        """The variance effective selection mass, 1 / sum_i w_i^2 (equation 8).

        Under random selection, the weighted mean of the parents varies as the mean of mu_eff members does.
        """
        return float(1 / np.square(self.weights_M).sum())

    def best(self, fitness_NS: Doubles) -> NDArray[np.int64]:
        """Returns the indices of the parents, (M,), the best first. Ties keep their order.

        Members of equal fitness do not share their weights, unlike in fitness shaping. If all members were equal,
        shared weights would average all of them, and sigma would shrink.
        """
        order_N: NDArray[np.int64] = np.argsort(-fitness_NS[:, 0], kind="stable")
        return order_N[: len(self.weights_M)]


def path_after(p_P: Doubles, c: float, mu_eff: float, step_P: Doubles) -> Doubles:
    """Returns an evolution path after one more step (equations 43 and 45): (1 - c) p + sqrt(c (2 - c) mu_eff) step.

    Under random selection the variance of the path stays the same.

    Args:
        p_P: The path before the step, p_sigma or p_c.
        c: The rate at which the path forgets, c_sigma or c_c, from 0 to 1.
        mu_eff: The variance effective selection mass.
        step_P: The weighted mean of the parents' steps over sigma.
    """
    after_P: Doubles = (1 - c) * p_P + np.sqrt(c * (2 - c) * mu_eff) * step_P
    return after_P
