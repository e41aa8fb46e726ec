"""A gradient estimate from weighted directions, and the norms of a step.

Salimans et al. 2017, arXiv:1703.03864, algorithm 2, lines 10 and 11. Axes: P parameters, N antithetic pairs.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from distes.errors import ConfigurationError, EvaluationError
from distes.perturbations.base import Perturbation
from distes.population import Floats

BLOCK = 2**24  # numbers that are worked on at a time


class Estimate(NamedTuple):
    """A gradient as weights of directions: sum_i weights_N[i] * direction_i / divisor.

    Attributes:
        weights_N: The weight of each pair's direction, float64.
        divisor: The divisor of the sum.
        metrics: Metrics of the estimate, by name.
    """

    weights_N: NDArray[np.float64]
    divisor: float
    metrics: Mapping[str, float] = {}

    def gradient(self, perturbation: Perturbation, ids_N: NDArray[np.int64]) -> Floats:
        """Returns the gradient, (P,) float32.

        Args:
            perturbation: Numbered directions.
            ids_N: The direction number of each pair.

        Raises:
            EvaluationError: A weight or the divisor is not finite in single precision.
        """
        self.require_finite()
        return perturbation.weighted_sum(ids_N, self.weights_N) / np.float32(self.divisor)

    def require_finite(self) -> None:
        """Checks that a step follows from the weights.

        Raises:
            EvaluationError: A weight or the divisor is not finite in single precision.
        """
        with np.errstate(over="ignore"):  # checked below
            numbers = np.append(self.weights_N, self.divisor).astype(np.float32)
        if not np.isfinite(numbers).all():
            raise EvaluationError(
                "The fitness of some members is so large that no step follows from it in single precision: scale "
                "rewards down, or use a strategy or a fitness_shaping that goes by ranks."
            )


def not_finite(generation: int) -> ConfigurationError:
    """Returns the error for a step after which the centre is not finite."""
    return ConfigurationError(
        f"The centre is no longer finite after generation {generation + 1}; use a smaller learning_rate."
    )


def of_step(before_P: Floats, after_P: Floats) -> dict[str, float]:
    """Returns the Euclidean norms of a step and of the centre after it, and their ratio, as metrics."""
    step, centre = norm(after_P - before_P), norm(after_P)
    return {
        "norm/centre": centre,
        "norm/step": step,
        "norm/step_over_centre": step / centre if centre > 0 else math.inf if step > 0 else 0.0,
    }


def norm(vector: Floats) -> float:
    """Returns the Euclidean norm, summed in float64; of a long vector block by block, which needs no copy of it."""
    blocks = (vector[first : first + BLOCK] for first in range(0, len(vector), BLOCK))
    return float(np.sqrt(sum(np.sum(block.astype(np.float64) ** 2) for block in blocks)))
