"""The novelty of a behaviour: its mean distance to the nearest known behaviours (Lehman and Stanley 2011).

"Abandoning Objectives: Evolution Through the Search for Novelty Alone", Evolutionary Computation 19(2), equation 1; and
Conti et al. 2018, arXiv:1712.06560, section 3.1.

Axes: B behaviours, A those in the archive, D numbers of a behaviour, K nearest neighbours.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distes.errors import ConfigurationError, EvaluationError
from distes.population import Floats, just_below
from distes.runs.state_check import is_floats, require

DISTANCES = 2**22  # distances computed at a time, 32 MB


class NoveltyArchive:
    """A growing list of behaviours, (A, D) float32, and the novelty of others with respect to it."""

    def __init__(self, neighbours: int = 10) -> None:
        """Starts empty.

        Args:
            neighbours: Number of nearest behaviours that novelty is the mean distance to, K.

        Raises:
            ConfigurationError: The number is below 1.
        """
        if neighbours < 1:
            raise ConfigurationError(f"neighbours must be at least 1; got {neighbours}.", argument="neighbours")
        self._neighbours = neighbours
        self._behaviour_AD: Floats = np.empty((0, 0), np.float32)

    def __len__(self) -> int:
        return len(self._behaviour_AD)

    @property
    def behaviour_AD(self) -> Floats:
        """All behaviours, (A, D) float32; a copy."""
        return self._behaviour_AD.copy()

    def add(self, behaviour_BD: Floats) -> None:
        """Appends behaviours, (B, D).

        Raises:
            EvaluationError: D differs from the archive's, or a number is not finite.
        """
        behaviour_BD = np.asarray(behaviour_BD, np.float32)
        self._check(behaviour_BD)
        self._behaviour_AD = np.concatenate([self._behaviour_AD, behaviour_BD]) if len(self) else behaviour_BD.copy()

    def novelty(
        self, behaviour_BD: Floats, *, among: bool = False, last_B: NDArray[np.bool_] | None = None
    ) -> NDArray[np.float64]:
        """Returns the mean Euclidean distance of each behaviour to its K nearest neighbours, (B,) float64.

        If fewer than K are known, all of them count; if none is known, novelty is 0. The result for a behaviour depends
        neither on threads nor on the other rows, unless `among` makes them neighbours.

        Args:
            behaviour_BD: The behaviours, (B, D) float32.
            among: Whether the given behaviours are neighbours of each other, besides those in the archive.
            last_B: Marks behaviours, (B,), that are ranked below all others and are nobody's neighbours; they may be
                NaN.

        Raises:
            EvaluationError: D differs from the archive's, or a number is not finite.
        """
        behaviour_BD = np.asarray(behaviour_BD, np.float32)
        if last_B is not None:
            novelty_B = np.zeros(len(behaviour_BD))
            novelty_B[~last_B] = self.novelty(behaviour_BD[~last_B], among=among)
            return just_below(novelty_B, last_B)
        self._check(behaviour_BD)
        known_AD = behaviour_BD[:0] if not len(self) else self._behaviour_AD
        if among:
            known_AD = np.concatenate([known_AD, behaviour_BD])
        # With `among`, each behaviour is its own nearest neighbour at distance 0, which does not count.
        nearest_BK = _nearest(behaviour_BD, known_AD, self._neighbours + among)[:, int(among) :]
        return nearest_BK.mean(axis=1) if nearest_BK.shape[1] else np.zeros(len(behaviour_BD))

    def state_dict(self) -> dict[str, Any]:
        """Returns all behaviours, copied."""
        return {"behaviour_AD": self.behaviour_AD}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Loads a state from `state_dict`.

        Raises:
            CheckpointError: It is not an array of finite float32 behaviours.
        """
        behaviour_AD = state["behaviour_AD"]
        require(is_floats(behaviour_AD, 2), "/behaviour_AD", "an array of behaviours in finite float32 numbers")
        self._behaviour_AD = behaviour_AD.copy()

    def _check(self, behaviour_BD: Floats) -> None:
        if len(self) and behaviour_BD.shape[1:] != self._behaviour_AD.shape[1:]:
            raise EvaluationError(
                f"Behaviours must all have the same length: got {behaviour_BD.shape[-1]}, and those before have "
                f"{self._behaviour_AD.shape[1]}."
            )
        bad = np.argwhere(~np.isfinite(behaviour_BD))
        if len(bad):
            raise EvaluationError(
                f"Behaviour {int(bad[0, 0])} has the component {behaviour_BD[tuple(bad[0])]}, and no distance to it is "
                "a number: let the task describe what members do in finite numbers."
            )


def _nearest(behaviour_BD: Floats, known_AD: Floats, count: int) -> NDArray[np.float64]:
    """Returns the distances to the nearest known behaviours in ascending order, (B, K) with K = min(count, A).

    Distances are computed from differences in float64. The matrix product |a|^2 + |b|^2 - 2ab would give equal points a
    distance above 0.
    """
    behaviours, known = (torch.tensor(array, dtype=torch.float64) for array in (behaviour_BD, known_AD))
    kept = min(count, len(known))
    nearest_BK = torch.empty(len(behaviours), kept, dtype=torch.float64)
    rows = max(1, DISTANCES // max(1, len(known)))
    for first in range(0, len(behaviours) if kept else 0, rows):
        some: Tensor = behaviours[first : first + rows]
        distance_RA = torch.cdist(some, known, compute_mode="donot_use_mm_for_euclid_dist")
        nearest_BK[first : first + rows] = distance_RA.topk(kept, largest=False, sorted=True).values
    return nearest_BK.numpy()
