"""Separable natural evolution strategies (SNES).

Wierstra, Schaul, Glasmachers, Sun, Peters and Schmidhuber 2014, "Natural Evolution Strategies", JMLR 15, algorithm 6.
Mirrored sampling is not part of algorithm 6: Brockhoff et al. 2010, doi:10.1007/978-3-642-15844-5_2.

Axes: P parameters, N members (or antithetic pairs), S the signs.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distes.perturbations.base import Perturbation
from distes.population import Floats
from distes.strategies.adaptive import AdaptiveES, State, to_float32
from distes.strategies.arguments import initial_sigma, require_finite
from distes.strategies.update.recombination import Doubles
from distes.strategies.update.shaping import log_rank


@dataclass(frozen=True, eq=False)
class Separable(State):
    """A normal distribution with independent parameters.

    Attributes:
        sigma_P: The standard deviation of each parameter.
    """

    sigma_P: Doubles


class SNES(AdaptiveES[Separable]):
    """SNES: natural gradient ascent on the centre and on a sigma per parameter (Wierstra et al. 2014).

    One generation of algorithm 6, with n members and rank utilities u that sum to zero:

        s_k ~ N(0, I)
        u = utilities of the ranks of fitness(mu + sigma * s_k)
        mu <- mu + eta_mu sigma * sum_k u_k s_k
        sigma <- sigma * exp(eta_sigma / 2 sum_k u_k (s_k^2 - 1))

    Not xNES, which adapts a full covariance matrix. `SepCMAES` also adapts a variance per parameter, but with evolution
    paths and a separate step size; `PGPE` uses an optimiser and ordinary gradients.

    Take it where parameters need different sigmas, and where a small population must do: the default is 4 + 3 ln P.
    """

    def __init__(
        self,
        centre_P: NDArray[np.float32],
        perturbation: Perturbation,
        seed: int = 0,
        *,
        population_size: int | None = None,
        sigma: float = 0.1,
        learning_rate: float = 1.0,
        sigma_learning_rate: float | None = None,
        mirrored: bool = False,
        timesteps_per_generation: int | None = None,
        max_population: int | None = None,
    ) -> None:
        """Starts in generation 0 at a centre.

        Args:
            centre_P: The initial centre, (P,) float32; copied.
            perturbation: Numbered directions; Dense ones, since each parameter has a sigma of its own.
            seed: The seed of the run.
            population_size: Members per generation; null for 4 + 3 ln P.
            sigma: Initial standard deviation, the same for all parameters.
            learning_rate: Learning rate of the centre, eta_mu in the paper.
            sigma_learning_rate: Learning rate of the standard deviations, eta_sigma in the paper; null for (3 + ln P) /
                (5 sqrt P).
            mirrored: Whether members come in antithetic pairs, which needs an even population_size; not in the paper.
            timesteps_per_generation: Evaluate rounds of population_size members until they have taken this many
                environment steps; null for one round.
            max_population: Start no round that would exceed this many members; null for no limit.
        """
        size = len(centre_P)
        usual_rate = (3 + math.log(size)) / (5 * math.sqrt(size))
        self._rate, self._sigma_rate = learning_rate, usual_rate if sigma_learning_rate is None else sigma_learning_rate
        require_finite("learning_rate", self._rate, above=0)
        require_finite("sigma_learning_rate", self._sigma_rate, at_least=0)
        super().__init__(
            Separable(centre_P.astype(np.float64), np.full(size, initial_sigma(sigma))),
            perturbation,
            seed,
            population_size=population_size,
            antithetic=mirrored,
            timesteps_per_generation=timesteps_per_generation,
            max_population=max_population,
        )

    def _sigma_of(self, state: Separable) -> Floats:
        return to_float32(state.sigma_P)

    def _after(self, fitness_NS: Doubles) -> Separable:
        utility_NS, ids_N = log_rank(fitness_NS), self._ids(len(fitness_NS))
        # Algorithm 6, its gradients of mu and of sigma. The square of a mirrored member's direction has no sign.
        gradient_P = self._perturbation.weighted_sum(ids_N, utility_NS @ np.array(self._signs))
        squares_P = self._perturbation.weighted_sum_of_squares(ids_N, utility_NS.sum(axis=1))
        sigma_P = self._state.sigma_P
        return Separable(
            self._state.centre_P + self._rate * sigma_P * gradient_P,
            # The paper's s_k ** 2 - 1; the 1 drops out, since utilities sum to zero.
            sigma_P * np.exp(self._sigma_rate / 2 * squares_P.astype(np.float64)),
        )
