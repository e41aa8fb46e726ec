"""A gradient estimate from the fitness of pairs, and the step that an optimiser takes along it."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from distes.errors import ConfigurationError, EvaluationError
from distes.perturbations.base import Perturbation
from distes.population import Floats
from distes.strategies.update.optimizer import FlatOptimizer


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
                "rewards down, or use a strategy or a fitness_shaping that goes by ranks."
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


def not_finite(generation: int) -> ConfigurationError:
    """What is said where a step led to a centre that is not finite."""
    return ConfigurationError(
        f"The centre is no longer finite after generation {generation + 1}; use a smaller learning_rate."
    )


def of_step(before_P: Floats, after_P: Floats) -> dict[str, float]:
    """How far the centre went, beside how long it is."""
    step, centre = norm(after_P - before_P), norm(after_P)
    return {
        "norm/centre": centre,
        "norm/step": step,
        "norm/step_over_centre": step / centre if centre > 0 else math.inf if step > 0 else 0.0,
    }


def norm(vector: Floats) -> float:
    """Euclidean, summed in float64."""
    return float(np.sqrt(np.sum(vector.astype(np.float64) ** 2)))
