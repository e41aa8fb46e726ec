"""What strategies share that estimate a gradient at one centre and take a step of an optimiser along it.

Axes: P parameters, N antithetic pairs, 2 the signs (+, -).
"""

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distes.errors import ConfigurationError
from distes.optimizer import FlatOptimizer
from distes.perturbations.base import Floats, Perturbation
from distes.population import Evaluation, Population
from distes.randomness import Stream, draw
from distes.strategies.base import Strategy

MAX_POPULATION = 2**24


class Estimate(NamedTuple):
    """How a gradient is put together: the sum of weights_N[i] * direction i, over a divisor.

    Attributes:
        weights_N: What each pair's direction counts, float64.
        divisor: Of the sum.
        metrics: What is worth seeing of it.
    """

    weights_N: NDArray[np.float64]
    divisor: float
    metrics: Mapping[str, float] = {}


class GradientES(Strategy):
    """One centre, antithetic Gaussian pairs around it, and a torch optimiser; a subclass says what a pair counts."""

    def __init__(
        self,
        perturbation: Perturbation,
        seed: int,
        optimizer: FlatOptimizer,
        *,
        population_size: int,
        sigma: float,
        l2_coeff: float = 0.0,
    ) -> None:
        """Starts at the optimiser's centre.

        Args:
            perturbation: Numbered directions.
            seed: Of the run.
            optimizer: Holds the centre.
            population_size: Members per generation.
            sigma: Standard deviation of the perturbation.
            l2_coeff: Weight decay, added to the gradient before the optimiser sees it (not decoupled).
        """
        self._perturbation, self._seed, self._optimizer = perturbation, seed, optimizer
        self._pairs, self._sigma, self._l2_coeff = population_size // 2, float(sigma), l2_coeff
        self._generation = 0

    @abstractmethod
    def _estimate(self, fitness_N2: NDArray[np.float64]) -> Estimate:
        """Says what each pair counts."""

    @property
    def centre_P(self) -> Floats:
        """The centre of the search distribution; a copy."""
        return self._optimizer.centre_P

    def ask(self) -> Population:
        """Draws N directions and N episode seeds as functions of (seed, generation, pair)."""
        directions = draw(self._seed, self._generation, Stream.DIRECTIONS, self._pairs)
        return Population(
            generation=self._generation,
            centre_P=self.centre_P,
            sigma=self._sigma,
            ids_N=(directions % np.uint64(self._perturbation.number_of_directions)).astype(np.int64),
            seeds_N=draw(self._seed, self._generation, Stream.EPISODES, self._pairs),
        )

    def tell(self, evaluation: Evaluation) -> dict[str, float]:
        """Moves the centre along the estimated gradient."""
        estimate = self._estimate(evaluation.fitness_N2)
        sum_P = self._perturbation.weighted_sum(self.ask().ids_N, estimate.weights_N)
        gradient_P = sum_P / np.float32(estimate.divisor)
        before = self._optimizer.state_dict()
        before_P: Floats = before["centre_P"]
        # The one minus sign: torch's optimisers minimise, and fitness is maximised.
        self._optimizer.step(-gradient_P + np.float32(self._l2_coeff) * before_P)
        after_P = self.centre_P
        if not np.isfinite(after_P).all():
            self._optimizer.load_state_dict(before)  # what is saved now can be resumed
            raise ConfigurationError(
                f"strategy: the centre is no longer finite after generation {self._generation + 1}; use a smaller "
                "learning_rate."
            )
        self._generation += 1
        step, centre = _norm(after_P - before_P), _norm(after_P)
        return {
            "norm/centre": centre,
            "norm/gradient": _norm(gradient_P),
            "norm/step": step,
            "norm/step_over_centre": step / centre if centre > 0 else math.inf,
            "sigma": self._sigma,
            "learning_rate": self._optimizer.learning_rate,
            **estimate.metrics,
        }

    def state_dict(self) -> dict[str, Any]:
        """The generation's number, the centre, and the optimiser's memory."""
        return {"generation": self._generation, **self._optimizer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Refuses a centre of another size."""
        self._optimizer.load_state_dict(state)
        self._generation = int(state["generation"])


def require_pairs(population_size: int) -> None:
    """Refuses what antithetic pairs cannot make up.

    Raises:
        ConfigurationError: It is odd, too small or too large.
    """
    if population_size > MAX_POPULATION:
        raise ConfigurationError(
            f"strategy.population_size must be at most {MAX_POPULATION:,}; got {population_size:,}."
        )
    if population_size < 2 or population_size % 2:
        near = sorted({max(2, population_size - 1), max(2, population_size + 1)})
        raise ConfigurationError(
            f"strategy.population_size must be even and at least 2, since members come in antithetic pairs; got "
            f"{population_size}, use {' or '.join(map(str, near))}."
        )


def require_finite(name: str, value: float, above: float = -math.inf, at_least: float = -math.inf) -> None:
    """Refuses a number that is not finite, or too small.

    Raises:
        ConfigurationError: It is.
    """
    if not (math.isfinite(value) and value > above and value >= at_least):
        bound = f"above {above:g}" if above > -math.inf else f"at least {at_least:g}"
        raise ConfigurationError(f"strategy.{name} must be a finite number {bound}; got {value}.")


def _norm(vector: Floats) -> float:
    return float(np.sqrt(np.sum(vector.astype(np.float64) ** 2)))
