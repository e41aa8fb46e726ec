"""Moments of observations, or of discounted returns, as workers report them.

Axes: O observation.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distes.errors import EvaluationError
from distes.population.record import ReadOnly


@dataclass(frozen=True, eq=False)
class Moments(ReadOnly):
    """Count, mean and sum of squared deviations of observations.

    Attributes:
        count: Number of observations.
        mean_O: Mean of the observations, float64.
        m2_O: Sum of squared deviations from the mean, float64.
    """

    count: int
    mean_O: NDArray[np.float64]
    m2_O: NDArray[np.float64]

    def require_finite(self) -> None:
        """Checks that the moments are finite; others would spoil the statistics they are merged into.

        Raises:
            EvaluationError: A mean or a sum of squares is NaN or infinite.
        """
        bad = np.flatnonzero(~(np.isfinite(self.mean_O) & np.isfinite(self.m2_O)))
        if len(bad):
            raise EvaluationError(
                f"The moments of {self.count:,} observations are not finite: component {bad[0]} has the mean "
                f"{self.mean_O[bad[0]]} and the sum of squares {self.m2_O[bad[0]]}. A task must leave observations "
                "that are not finite out of its moments."
            )
