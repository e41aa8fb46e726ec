"""Base class for strategies that estimate a gradient at one centre and follow it with an optimiser.

Axes: P parameters, N antithetic pairs, 2 the signs (+, -).
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distes.perturbations.base import Perturbation
from distes.population import Evaluation, Floats
from distes.strategies.base import Part
from distes.strategies.gaussian import GaussianSearch
from distes.strategies.update.ascend import ascend
from distes.strategies.update.decay import Decay, Towards
from distes.strategies.update.estimate import Estimate
from distes.strategies.update.optimizer import MEMORY, FlatOptimizer
from distes.strategies.update.schedules import Schedule


class GradientES(GaussianSearch):
    """Estimates a gradient from antithetic pairs and takes an optimiser's step along it.

    A subclass implements `_estimate`, which gives each pair's direction a weight:

        g = sum_i weights_i T eps_i / divisor
        centre <- optimizer(centre, g - l2_coeff (centre - origin))

    Attributes:
        estimate_P: The last g, (P,) float32; None before the first step of this process. It is no part of the state.
    """

    varying: tuple[str, ...] = MEMORY
    estimate_P: Floats | None = None

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
        decay_towards: Towards = "zero",
        timesteps_per_generation: int | None = None,
        max_population: int | None = None,
    ) -> None:
        """Starts at the optimiser's centre.

        Args:
            perturbation: Numbered directions.
            seed: The seed of the run.
            optimizer: Holds the centre.
            population_size: Members per round; even.
            sigma: Standard deviation of the perturbation, by generation.
            learning_rate: Learning rate of the optimiser, by generation.
            l2_coeff: Weight decay, added to the gradient before the optimiser sees it (not decoupled).
            decay_towards: Where weight decay pulls to: zero, or the initial parameters, as fine-tuning needs it.
            timesteps_per_generation: See `GaussianSearch`.
            max_population: See `GaussianSearch`.

        Raises:
            ConfigurationError: A number is out of range, or the optimiser has a weight decay of its own that is not
                towards the same place.
        """
        super().__init__(
            perturbation,
            seed,
            population_size=population_size,
            timesteps_per_generation=timesteps_per_generation,
            max_population=max_population,
        )
        self._optimizer, self._decay = optimizer, Decay(l2_coeff, decay_towards, optimizer)
        self.needs_initial = self._decay.initial_P is not None
        self._sigma_schedule, self._rate_schedule = sigma, learning_rate

    @abstractmethod
    def _estimate(self, fitness_N2: NDArray[np.float64]) -> Estimate:
        """Returns the weight of each pair's direction, from fitness (N, 2)."""

    def _gradient(self, ids_N: NDArray[np.int64], estimate: Estimate) -> Floats:
        """Returns the gradient, (P,) float32. T maps the sum of directions, which is the sum of mapped directions."""
        total_P = estimate.gradient(self._perturbation, ids_N)
        transform = self._transform()
        return total_P if transform is None else transform(total_P)

    def _learned(self, gradient_P: Floats) -> None:
        """Called with the gradient, (P,), after the step; a subclass may store it."""
        return

    @property
    def centre_P(self) -> Floats:
        """The centre of the search distribution; a copy."""
        return self._optimizer.centre_P

    def _sigma(self) -> float | Floats:
        return self._sigma_schedule(self._generation)

    def _tell(self, evaluation: Evaluation) -> dict[str, float]:
        """Moves the centre along the estimated gradient, and returns metrics."""
        with np.errstate(over="ignore", invalid="ignore"):  # checked by `Estimate.gradient`
            estimate = self._estimate(evaluation.fitness_N2)
        ids_N = self._ids(len(evaluation.fitness_N2))
        gradient_P = self._gradient(ids_N, estimate)
        self._optimizer.learning_rate = self._rate_schedule(self._generation)
        metrics = {
            **ascend(self._optimizer, gradient_P, self._decay, self._generation),
            "sigma": float(np.mean(self._sigma(), dtype=np.float64)),
            **estimate.metrics,
        }
        self._generation += 1
        self.estimate_P = gradient_P
        self._learned(gradient_P)
        return metrics

    def _written_to(self) -> tuple[Part, ...]:
        return (self._optimizer,)

    def state_dict(self) -> dict[str, Any]:
        """Returns the generation, the centre, the optimiser's memory, and a digest of where decay pulls to."""
        return {"generation": self._generation, **self._optimizer.state_dict(), **self._decay.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Loads a state from `state_dict`.

        Raises:
            ConfigurationError: The stored centre has another size.
            CheckpointError: The memory does not fit the optimiser, or the initial parameters were others and are
                needed.
        """
        self._decay.check(state)
        self._optimizer.load_state_dict(state)
        self._generation = int(state["generation"])
