"""What strategies share that estimate a gradient at one centre and take a step of an optimiser along it.

Axes: P parameters, N antithetic pairs, 2 the signs (+, -).
"""

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distes.errors import ConfigurationError, EvaluationError
from distes.evaluation import Evaluation
from distes.perturbations.base import Perturbation
from distes.population import Floats
from distes.strategies.gaussian import OneCentre
from distes.strategies.update.optimizer import MEMORY, FlatOptimizer
from distes.strategies.update.schedules import LARGEST, Schedule, too_large


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

    def gradient(self, perturbation: Perturbation, ids_N: NDArray[np.int64]) -> Floats:
        """The gradient, (P,), from the numbers of the directions.

        Raises:
            EvaluationError: What a pair counts, or the divisor, is beyond single precision.
        """
        with np.errstate(over="ignore"):  # looked for here
            numbers = np.append(self.weights_N, self.divisor).astype(np.float32)
        if not np.isfinite(numbers).all():
            raise EvaluationError(
                "The fitness of some members is so large that no step follows from it in single precision: scale "
                "rewards down, or use a strategy or a strategy.fitness_shaping that goes by ranks."
            )
        return perturbation.weighted_sum(ids_N, self.weights_N) / np.float32(self.divisor)


def ascend(optimizer: FlatOptimizer, gradient_P: Floats, l2_coeff: float, generation: int) -> dict[str, float]:
    """Takes an optimiser's step along an estimated gradient, and returns metrics of it.

    Args:
        optimizer: With the learning rate of this step.
        gradient_P: Of fitness, which is maximised.
        l2_coeff: Weight decay, added to the gradient before the optimiser sees it (not decoupled).
        generation: Its number.

    Raises:
        ConfigurationError: The step leads to a centre, or to a memory of the optimiser, that is not finite.
    """
    before_P = optimizer.centre_P
    # The one minus sign: torch's optimisers minimise, and fitness is maximised.
    optimizer.step(-gradient_P + np.float32(l2_coeff) * before_P)
    after_P = optimizer.centre_P
    if not optimizer.is_finite():
        raise not_finite(generation)
    return {
        "norm/gradient": norm(gradient_P),
        **of_step(before_P, after_P),
        "learning_rate": optimizer.learning_rate,
    }


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


def not_finite(generation: int) -> ConfigurationError:
    """What is said where a step led to a centre that is not finite."""
    return ConfigurationError(
        f"strategy: the centre is no longer finite after generation {generation + 1}; use a smaller learning_rate."
    )


def of_step(before_P: Floats, after_P: Floats) -> dict[str, float]:
    """How far the centre went, beside how long it is."""
    step, centre = norm(after_P - before_P), norm(after_P)
    return {
        "norm/centre": centre,
        "norm/step": step,
        "norm/step_over_centre": step / centre if centre > 0 else math.inf if step > 0 else 0.0,
    }


def require_finite(name: str, value: float, above: float = -math.inf, at_least: float = -math.inf) -> None:
    """Refuses a number that is not finite in single precision, or too small.

    Raises:
        ConfigurationError: It is.
    """
    if not (abs(value) <= LARGEST and value > above and value >= at_least):
        bound = f"above {above:g}" if above > -math.inf else f"at least {at_least:g}"
        raise ConfigurationError(f"strategy.{name} must be a finite number {bound}; got {value}.{too_large(value)}")


def norm(vector: Floats) -> float:
    """Euclidean, summed in float64."""
    return float(np.sqrt(np.sum(vector.astype(np.float64) ** 2)))
