"""Mergeable mean and variance of observations, in float64.

Chan, Golub and LeVeque 1983 ("Algorithms for computing the sample variance"), equation 2.1. Moments are merged in the
order of chunks, so that the result does not depend on who computed them.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distes.errors import CheckpointError
from distes.population import Moments, Normalization

MIN_VARIANCE = 1e-2  # the released code of OpenAI-ES: a standard deviation below 0.1 counts as 0.1


class RunningStat:
    """The moments of all observations merged so far. Axis: O, the observation's size."""

    def __init__(self, size: int) -> None:
        """Starts with no observation.

        Args:
            size: O.
        """
        self.count = 0
        self.mean_O = np.zeros(size)
        self.m2_O = np.zeros(size)

    def merge(self, other: Moments) -> None:
        """Takes in the moments of further observations.

        Raises:
            EvaluationError: They are not finite; nothing has changed.
        """
        other.require_finite()
        if other.count == 0:
            return
        total = self.count + other.count
        delta_O = other.mean_O - self.mean_O
        self.mean_O = self.mean_O + delta_O * (other.count / total)
        self.m2_O = self.m2_O + other.m2_O + delta_O**2 * (self.count * other.count / total)
        self.count = total

    def normalization(self) -> Normalization | None:
        """Returns mean and floored standard deviation in float32, or None before the first observation."""
        if self.count == 0:
            return None
        std_O = np.sqrt(np.maximum(self.m2_O / self.count, MIN_VARIANCE))
        return Normalization(self.mean_O.astype(np.float32), std_O.astype(np.float32))

    def state_dict(self) -> dict[str, Any]:
        """Everything, for a checkpoint."""
        return {"count": self.count, "mean_O": self.mean_O, "m2_O": self.m2_O}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` gave.

        Raises:
            CheckpointError: A mean or a sum of squares is NaN or infinite.
        """
        if not (np.isfinite(state["mean_O"]).all() and np.isfinite(state["m2_O"]).all()):
            raise CheckpointError(
                "The checkpoint's statistics of observations are not finite, so a policy could see nothing: go on from "
                "an older checkpoint, or start anew."
            )
        self.count, self.mean_O, self.m2_O = int(state["count"]), np.array(state["mean_O"]), np.array(state["m2_O"])


def every_fraction(count: int, fraction: float) -> NDArray[np.bool_]:
    """Marks ceil(fraction * count) of `count` places, spread evenly, so that no chunk has all the extra work."""
    marked = math.ceil(fraction * count - 1e-9)  # 0.07 of 100 is 7, and 7.000000000000001 in floats
    edges = np.arange(count + 1) * marked // max(count, 1)
    return np.diff(edges) > 0
