"""Separable CMA-ES: covariance matrix adaptation whose matrix stays diagonal, so that its cost is linear.

Ros and Hansen 2008, "A Simple Modification in CMA-ES Achieving Linear Time and Space Complexity", PPSN X,
doi:10.1007/978-3-540-87700-4_30: the learning rates of the matrix are (P + 2) / 3 times those of the full one. The full
one's, and all else, are of Hansen's tutorial, arXiv:1604.00772v1, with positive weights alone (the paper's own
defaults, of 2004, differ a little).

Axes: P parameters, N members, M parents.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distes.perturbations.base import Perturbation
from distes.population import Floats
from distes.strategies.adaptive import AdaptiveES, State, exp, to_float32
from distes.strategies.arguments import initial_sigma
from distes.strategies.update.recombination import Doubles, Recombination, path_after


@dataclass(frozen=True, eq=False)
class Paths(State):
    """A normal distribution with independent parameters, and where its centre has gone lately.

    Attributes:
        sigma: Of the whole distribution.
        variance_P: The diagonal of the matrix C.
        sigma_path_P: p_sigma: steps as they would be with C = I.
        path_P: p_c: steps over sigma.
    """

    sigma: float
    variance_P: Doubles
    sigma_path_P: Doubles
    path_P: Doubles


class SepCMAES(AdaptiveES[Paths]):
    """The centre goes to the mean of the best half; sigma and each parameter's variance follow the steps taken."""

    def __init__(
        self,
        centre_P: NDArray[np.float32],
        perturbation: Perturbation,
        seed: int = 0,
        *,
        population_size: int | None = None,
        sigma: float = 0.1,
    ) -> None:
        """Starts at a centre.

        Args:
            centre_P: Where to start, float32; copied.
            perturbation: Numbered directions; Dense ones, since each parameter has a variance of its own.
            seed: Of the run.
            population_size: Members per generation; null for 4 + 3 ln P.
            sigma: Standard deviation to begin with, the same for all parameters.
        """
        size = len(centre_P)
        zeros_P = np.zeros(size)
        super().__init__(
            Paths(centre_P.astype(np.float64), initial_sigma(sigma), np.ones(size), zeros_P, zeros_P),
            perturbation,
            seed,
            population_size=population_size,
        )
        self._parents = parents = Recombination.of(self._pairs)
        mass = parents.effective
        # Equations 55 to 58 of the tutorial, and the paper's factor.
        self._c_sigma = (mass + 2) / (size + mass + 5)
        self._damping = 1 + 2 * max(0.0, math.sqrt((mass - 1) / (size + 1)) - 1) + self._c_sigma
        self._c_c = (4 + mass / size) / (size + 4 + 2 * mass / size)
        self._c_1 = min(1.0, (size + 2) / 3 * 2 / ((size + 1.3) ** 2 + mass))
        self._c_mu = min(1 - self._c_1, (size + 2) / 3 * 2 * (mass - 2 + 1 / mass) / ((size + 2) ** 2 + mass))
        self._usual_length = math.sqrt(size) * (1 - 1 / (4 * size) + 1 / (21 * size**2))  # E |N(0, I)|

    def _sigma(self) -> Floats:
        return to_float32(self._state.sigma * np.sqrt(self._state.variance_P))

    def _after(self, fitness_NS: Doubles) -> Paths:
        state, weights_M, mass = self._state, self._parents.weights_M, self._parents.effective
        ids_M = self._ids(self._pairs)[self._parents.best(fitness_NS)]
        mean_P = self._perturbation.weighted_sum(ids_M, weights_M).astype(np.float64)
        squares_P = self._perturbation.weighted_sum_of_squares(ids_M, weights_M).astype(np.float64)
        step_P = np.sqrt(state.variance_P) * mean_P
        # Equation 43: with C = I the step is `mean_P`.
        sigma_path_P = path_after(state.sigma_path_P, self._c_sigma, mass, mean_P)
        length = math.sqrt(float(np.square(sigma_path_P).sum()))
        # After the first steps the path is still short; without h, a long one would make C grow along with sigma.
        so_far = math.sqrt(1 - (1 - self._c_sigma) ** (2 * (self._generation + 1)))
        h = float(length / so_far < (1.4 + 2 / (len(mean_P) + 1)) * self._usual_length)
        path_P = path_after(state.path_P, self._c_c, mass, h * step_P)  # equation 45
        keep = 1 - self._c_1 - self._c_mu + (1 - h) * self._c_1 * self._c_c * (2 - self._c_c)
        # Equation 47, of which only the diagonal is left; parents' steps are the root of C times their directions.
        variance_P = state.variance_P * (keep + self._c_mu * squares_P) + self._c_1 * np.square(path_P)
        sigma = state.sigma * exp(self._c_sigma / self._damping * (length / self._usual_length - 1))  # equation 44
        # In a long curved valley sigma rises and C falls without end, though their product does not. By a power of two,
        # which changes no bit, C stays near I.
        unit = 2.0 ** math.frexp(math.sqrt(float(variance_P.mean())))[1]
        centre_P = state.centre_P + state.sigma * step_P
        return Paths(centre_P, sigma * unit, variance_P / unit**2, sigma_path_P, path_P / unit)
