"""The normalisation of observations that all members of a generation share.

Axes: O observation.
"""

from dataclasses import dataclass

from distes.population.record import Floats, ReadOnly


@dataclass(frozen=True, eq=False)
class Normalization(ReadOnly):
    """Normalisation of observations, fixed for a generation: a policy sees clip((observation - mean) / std, -5, 5).

    Attributes:
        mean_O: Mean of the observations, float32.
        std_O: Their standard deviation, float32, positive.
    """

    mean_O: Floats
    std_O: Floats
