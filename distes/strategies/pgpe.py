"""Policy gradients with parameter-based exploration (PGPE).

Sehnke, Osendorfer, Rückstieß, Graves, Peters and Schmidhuber 2010, "Parameter-exploring policy gradients", Neural
Networks 23(4): symmetric sampling, a standard deviation of each parameter. In the form of Toklu, Liskowski and
Srivastava 2020 (arXiv:2008.02387), which EvoTorch ships: ranks over all members in place of a baseline, ClipUp on the
centre's gradient, and a limit to the change of a standard deviation.

Axes: P parameters, N antithetic pairs, 2 the signs (+, -).
"""

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from distes.errors import ConfigurationError
from distes.perturbations.base import Perturbation
from distes.population import Evaluation, Floats
from distes.strategies.arguments import require_dense, require_finite
from distes.strategies.gradient import GradientES
from distes.strategies.update.estimate import Estimate
from distes.strategies.update.optimizer import MEMORY, FlatOptimizer
from distes.strategies.update.schedules import Schedule, schedule_of
from distes.strategies.update.shaping import shaping

# Without sign, which gives the members of a pair opposite utilities: their mean says nothing about sigma.
ALLOWED_SHAPINGS = ("centered_rank", "zscore", "raw")


class PGPE(GradientES):
    """PGPE: gradients for the centre and for each parameter's standard deviation (Sehnke et al. 2010).

    One generation in the form of Toklu et al. 2020, with N pairs:

        eps_i ~ N(0, I)
        F_i+, F_i- = fitness(mu + sigma * eps_i), fitness(mu - sigma * eps_i)
        u = fitness_shaping(F), with mean zero
        mu <- ClipUp(mu, 1 / 2N sum_i (u_i+ - u_i-) sigma * eps_i)
        d = sigma_learning_rate / N sum_i (u_i+ + u_i-) / 2 (eps_i^2 - 1)
        sigma <- sigma + sigma * clip(d, -sigma_max_change, sigma_max_change)

    `OpenAIES` is the same with one fixed sigma and another optimiser. `SNES` also adapts a sigma per parameter, but
    follows the natural gradient without an optimiser.

    Take it for control tasks with large populations, in particular where a good sigma is not known.
    """

    varying = MEMORY
    _written_to = GradientES._written_to

    def __init__(
        self,
        centre_P: NDArray[np.float32],
        perturbation: Perturbation,
        seed: int = 0,
        *,
        population_size: int = 64,
        sigma: float | None = None,
        radius: float | None = None,
        learning_rate: float | dict[str, Any] = 0.3,
        sigma_learning_rate: float = 0.1,
        sigma_max_change: float = 0.2,
        fitness_shaping: Literal["centered_rank", "zscore", "raw"] = "centered_rank",
        optimizer: str = "ClipUp",
        optimizer_args: dict[str, Any] | None = None,
        timesteps_per_generation: int | None = None,
        max_population: int | None = None,
    ) -> None:
        """Starts in generation 0 at a centre.

        Args:
            centre_P: The initial centre, (P,) float32; copied.
            perturbation: Numbered directions; Dense ones, since each parameter has a sigma of its own.
            seed: The seed of the run.
            population_size: Members per generation; even, since they come in antithetic pairs.
            sigma: Initial standard deviation, the same for all parameters; 0.1 if neither sigma nor radius is given.
            radius: In place of sigma, the length of the vector of standard deviations, sigma * sqrt(P). For ClipUp, 15
                times its max_speed.
            learning_rate: Learning rate of the optimiser: a number or a schedule. For ClipUp, 0.75 times its max_speed.
            sigma_learning_rate: Learning rate of the standard deviations; 0 keeps them fixed.
            sigma_max_change: Largest relative change of a standard deviation in one generation.
            fitness_shaping: How utilities are made from fitness.
            optimizer: The optimiser of the centre: ClipUp, the name of a class in torch.optim, or an import path.
            optimizer_args: Further arguments of the optimiser, such as `{max_speed: 0.3}`.
            timesteps_per_generation: Evaluate rounds of population_size members until they have taken this many
                environment steps; null for one round.
            max_population: Start no round that would exceed this many members; null for no limit.
        """
        require_dense(perturbation, "PGPE")
        rate = schedule_of("learning_rate", learning_rate)
        require_finite("sigma_learning_rate", sigma_learning_rate, at_least=0)
        if not 0 < sigma_max_change < 1:
            raise ConfigurationError(
                f"sigma_max_change must lie between 0 and 1; got {sigma_max_change}.", argument="sigma_max_change"
            )
        self._shape = shaping(fitness_shaping, ALLOWED_SHAPINGS)
        self._sigma_rate, self._max_change = sigma_learning_rate, np.float32(sigma_max_change)
        start = _initial_sigma(sigma, radius, len(centre_P))
        super().__init__(
            perturbation,
            seed,
            FlatOptimizer(optimizer, centre_P, rate.start, optimizer_args or {}),
            population_size=population_size,
            sigma=Schedule(start),
            learning_rate=rate,
            timesteps_per_generation=timesteps_per_generation,
            max_population=max_population,
        )
        self._sigma_P: Floats = np.full(len(centre_P), start, np.float32)  # never written to: populations refer to it

    def _sigma(self) -> Floats:
        return self._sigma_P

    def _tell(self, evaluation: Evaluation) -> dict[str, float]:
        """Moves the centre and the standard deviations, both by gradients at the distribution that was sampled."""
        ids_N, sigma_P = self._ids(len(evaluation.fitness_N2)), self._sigma_P
        adapted_P = sigma_P
        if self._sigma_rate > 0:
            with np.errstate(over="ignore", invalid="ignore"):
                adapted_P = self._adapted(ids_N, self._shape(evaluation.fitness_N2))
            if not np.isfinite(adapted_P).all():
                raise ConfigurationError(
                    f"A sigma is no longer finite after generation {self._generation + 1}; use a smaller "
                    "sigma_learning_rate, or a fitness_shaping by ranks."
                )
        metrics = super()._tell(evaluation)
        self._sigma_P = adapted_P
        return {**metrics, "sigma/min": float(sigma_P.min()), "sigma/max": float(sigma_P.max())}

    def state_dict(self) -> dict[str, Any]:
        """Returns the state of `GradientES`, and the standard deviations."""
        return {**super().state_dict(), "sigma_P": self._sigma_P.copy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Loads a state from `state_dict`.

        Raises:
            ConfigurationError: The stored centre has another size.
        """
        super().load_state_dict(state)
        self._sigma_P = np.array(state["sigma_P"], np.float32)

    def _estimate(self, fitness_N2: NDArray[np.float64]) -> Estimate:
        utility_N2 = self._shape(fitness_N2)
        return Estimate(utility_N2[:, 0] - utility_N2[:, 1], utility_N2.size)

    def _gradient(self, ids_N: NDArray[np.int64], estimate: Estimate) -> Floats:
        # A step from the centre to a member is sigma * direction.
        return self._sigma_P * super()._gradient(ids_N, estimate)

    def _adapted(self, ids_N: NDArray[np.int64], utility_N2: NDArray[np.float64]) -> Floats:
        # Sehnke et al., section 3: 1 / N sum_i u_i ((sigma eps_i)**2 - sigma**2) / sigma, which is
        # sigma / N sum_i u_i (eps_i**2 - 1). The 1 drops out, since the pairs' mean utilities u_i sum to zero.
        weights_N = utility_N2.mean(axis=1) - utility_N2.mean()
        squares_P = self._perturbation.weighted_sum_of_squares(ids_N, weights_N)
        change_P = np.float32(self._sigma_rate / len(ids_N)) * squares_P
        sigma_P: Floats = self._sigma_P + self._sigma_P * np.clip(change_P, -self._max_change, self._max_change)
        return sigma_P


def _initial_sigma(sigma: float | None, radius: float | None, size: int) -> float:
    if radius is None:
        start = 0.1 if sigma is None else sigma
        require_finite("sigma", start, above=0)
        return start
    if sigma is not None:
        raise ConfigurationError(
            f"sigma and radius say the same; got {sigma} and {radius}: give one.", argument="sigma"
        )
    require_finite("radius", radius, above=0)
    return radius / math.sqrt(size)
