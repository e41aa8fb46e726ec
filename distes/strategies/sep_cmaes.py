"""Separable CMA-ES: covariance matrix adaptation with a diagonal matrix, at linear cost.

Ros and Hansen 2008, "A Simple Modification in CMA-ES Achieving Linear Time and Space Complexity", PPSN X,
doi:10.1007/978-3-540-87700-4_30: the learning rates c_1 and c_mu are (P + 2) / 3 times those of the full matrix. Those
rates, all other formulas and the equation numbers are from Hansen's tutorial, arXiv:1604.00772v1, with positive weights
only. The paper's own defaults, of 2004, differ slightly.

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
    """A normal distribution with a diagonal covariance matrix, and its two evolution paths.

    Attributes:
        sigma: The step size.
        variance_P: The diagonal of the matrix C.
        sigma_path_P: The paper's p_sigma, which sums steps as they would be with C = I.
        path_P: The paper's p_c, which sums steps over sigma.
    """

    sigma: float
    variance_P: Doubles
    sigma_path_P: Doubles
    path_P: Doubles


class SepCMAES(AdaptiveES[Paths]):
    """Sep-CMA-ES: CMA-ES with a diagonal covariance matrix (Ros and Hansen 2008).

    One generation, with centre m, step size sigma, diagonal C, and weights w_i of the best half:

        z_k ~ N(0, I)
        rank fitness(m + sigma sqrt(C) z_k); y_i = sqrt(C) z_i of the i-th best
        m <- m + sigma sum_i w_i y_i
        p_sigma, p_c <- (1 - c) p + sqrt(c (2 - c) mu_eff) times the weighted step
        C <- (1 - c_1 - c_mu) C + c_1 p_c^2 + c_mu sum_i w_i y_i^2
        sigma <- sigma exp(c_sigma / d_sigma (|p_sigma| / E |N(0, I)| - 1))

    Not full CMA-ES: correlations between parameters are not learned. `LMMAES` learns some of them from a few vectors,
    and `SNES` adapts a variance per parameter without paths.

    Take it where parameters need different step sizes, with a small population; memory and time are linear in P.
    """

    def __init__(
        self,
        centre_P: NDArray[np.float32],
        perturbation: Perturbation,
        seed: int = 0,
        *,
        population_size: int | None = None,
        sigma: float = 0.1,
    ) -> None:
        """Starts in generation 0 at a centre.

        Args:
            centre_P: The initial centre, (P,) float32; copied.
            perturbation: Numbered directions; Dense ones, since each parameter has a variance of its own.
            seed: The seed of the run.
            population_size: Members per generation; null for 4 + 3 ln P.
            sigma: Initial standard deviation, the same for all parameters.
        """
        size = len(centre_P)
        zeros_P = np.zeros(size)
        super().__init__(
            Paths(centre_P.astype(np.float64), initial_sigma(sigma), np.ones(size), zeros_P, zeros_P),
            perturbation,
            seed,
            population_size=population_size,
        )
        self._recombination = recombination = Recombination.of(self._pairs)
        mu_eff = recombination.mu_eff
        # Equations 55 to 58; the paper multiplies c_1 and c_mu by (P + 2) / 3.
        self._c_sigma = c_sigma = (mu_eff + 2) / (size + mu_eff + 5)
        self._d_sigma = 1 + 2 * max(0.0, math.sqrt((mu_eff - 1) / (size + 1)) - 1) + c_sigma
        self._c_c = (4 + mu_eff / size) / (size + 4 + 2 * mu_eff / size)
        self._c_1 = min(1.0, (size + 2) / 3 * 2 / ((size + 1.3) ** 2 + mu_eff))
        self._c_mu = min(1 - self._c_1, (size + 2) / 3 * 2 * (mu_eff - 2 + 1 / mu_eff) / ((size + 2) ** 2 + mu_eff))
        self._chi_P = math.sqrt(size) * (1 - 1 / (4 * size) + 1 / (21 * size**2))  # E |N(0, I)|

    def _sigma_of(self, state: Paths) -> Floats:
        return to_float32(state.sigma * np.sqrt(state.variance_P))

    def _after(self, fitness_NS: Doubles) -> Paths:
        state, weights_M, mu_eff = self._state, self._recombination.weights_M, self._recombination.mu_eff
        c_sigma, c_c, c_1, c_mu = self._c_sigma, self._c_c, self._c_1, self._c_mu
        ids_M = self._ids(self._pairs)[self._recombination.best(fitness_NS)]
        z_P = self._perturbation.weighted_sum(ids_M, weights_M).astype(np.float64)  # sum_i w_i z_i
        z_squared_P = self._perturbation.weighted_sum_of_squares(ids_M, weights_M).astype(np.float64)
        y_P = np.sqrt(state.variance_P) * z_P  # equation 41: <y>_w = sqrt(C) <z>_w
        p_sigma_P = path_after(state.sigma_path_P, c_sigma, mu_eff, z_P)  # equation 43: C^(-1/2) <y>_w = <z>_w
        length = math.sqrt(float(np.square(p_sigma_P).sum()))
        # h_sigma: after the first steps p_sigma is still short. While it is long, p_c stalls, or C would grow too fast.
        so_far = math.sqrt(1 - (1 - c_sigma) ** (2 * (self._generation + 1)))
        h_sigma = float(length / so_far < (1.4 + 2 / (len(z_P) + 1)) * self._chi_P)
        p_c_P = path_after(state.path_P, c_c, mu_eff, h_sigma * y_P)  # equation 45
        # Equation 47, its diagonal: y_i^2 = C z_i^2.
        keep = 1 - c_1 - c_mu + (1 - h_sigma) * c_1 * c_c * (2 - c_c)
        variance_P = state.variance_P * (keep + c_mu * z_squared_P) + c_1 * np.square(p_c_P)
        sigma = state.sigma * exp(c_sigma / self._d_sigma * (length / self._chi_P - 1))  # equation 44
        # In a long curved valley sigma rises and C falls without end, while their product does not. Dividing C by a
        # power of two keeps it near I, and changes no bit of the product.
        unit = 2.0 ** math.frexp(math.sqrt(float(variance_P.mean())))[1]
        centre_P = state.centre_P + state.sigma * y_P  # equation 42
        return Paths(centre_P, sigma * unit, variance_P / unit**2, p_sigma_P, p_c_P / unit)
