"""What strategies share that estimate a gradient at one centre and take a step of an optimiser along it.

Axes: P parameters, N antithetic pairs, 2 the signs (+, -).
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distes.perturbations.base import Perturbation
from distes.population import Evaluation, Floats
from distes.strategies.gaussian import OneCentre
from distes.strategies.update.estimate import Estimate, ascend
from distes.strategies.update.optimizer import MEMORY, FlatOptimizer
from distes.strategies.update.schedules import Schedule


class GradientES(OneCentre):
    """One centre, antithetic Gaussian pairs around it, and a torch optimiser; a subclass says what a pair counts."""

    varying: tuple[str, ...] = MEMORY

    def __init__(
        self,
        perturbation: Perturbation,
        seed: int,
        optimizer: FlatOptimizer,
        *,
        population_size: int,
        sigma: Schedule,
        learning_rate: Schedule,
        l2_coeff: float = 0.0,
        timesteps_per_generation: int | None = None,
        max_population: int | None = None,
    ) -> None:
        """Starts at the optimiser's centre.

        Args:
            perturbation: Numbered directions.
            seed: Of the run.
            optimizer: Holds the centre.
            population_size: Members per generation, or per round of it.
            sigma: Standard deviation of the perturbation.
            learning_rate: Of the optimiser.
            l2_coeff: Weight decay, added to the gradient before the optimiser sees it (not decoupled).
            timesteps_per_generation: See `OneCentre`.
            max_population: Likewise.
        """
        super().__init__(
            perturbation,
            seed,
            population_size=population_size,
            timesteps_per_generation=timesteps_per_generation,
            max_population=max_population,
        )
        self._optimizer, self._l2_coeff = optimizer, l2_coeff
        self._sigma_schedule, self._rate_schedule = sigma, learning_rate

    @abstractmethod
    def _estimate(self, fitness_N2: NDArray[np.float64]) -> Estimate:
        """Says what each pair counts."""

    def _gradient(self, ids_N: NDArray[np.int64], estimate: Estimate) -> Floats:
        """Puts it together; where directions are mapped, so is their sum, since the map is linear."""
        total_P = estimate.gradient(self._perturbation, ids_N)
        spread = self._spread()
        return total_P if spread is None else spread(total_P)

    def _learned(self, gradient_P: Floats) -> None:
        """What a subclass keeps of a generation's estimate, once the step is taken."""
        return

    @property
    def centre_P(self) -> Floats:
        """The centre of the search distribution; a copy."""
        return self._optimizer.centre_P

    def _sigma(self) -> float | Floats:
        return self._sigma_schedule(self._generation)

    def _tell(self, evaluation: Evaluation) -> dict[str, float]:
        """Moves the centre along the estimated gradient."""
        with np.errstate(over="ignore", invalid="ignore"):  # looked for when the gradient is put together
            estimate = self._estimate(evaluation.fitness_N2)
        ids_N = self._ids(len(evaluation.fitness_N2))
        gradient_P = self._gradient(ids_N, estimate)
        self._optimizer.learning_rate = self._rate_schedule(self._generation)
        metrics = {
            **ascend(self._optimizer, gradient_P, self._l2_coeff, self._generation),
            "sigma": float(np.mean(self._sigma(), dtype=np.float64)),
            **estimate.metrics,
        }
        self._generation += 1
        self._learned(gradient_P)
        return metrics

    def state_dict(self) -> dict[str, Any]:
        """The generation's number, the centre, and the optimiser's memory."""
        return {"generation": self._generation, **self._optimizer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Refuses a centre of another size."""
        self._optimizer.load_state_dict(state)
        self._generation = int(state["generation"])
