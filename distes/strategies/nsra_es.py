"""NSRA-ES: between fitness and novelty, more of the latter as long as nothing gets better.

Conti et al. 2018, arXiv:1712.06560, algorithm 3.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distes.errors import ConfigurationError
from distes.perturbations.base import Perturbation
from distes.population import Evaluation
from distes.strategies.arguments import require_finite
from distes.strategies.novelty_search import NoveltyES


@dataclass(frozen=True)
class Balance:
    """Where it stands.

    Attributes:
        weight: Of fitness.
        best: The best mean fitness that any agent's centre has had.
        waited: Generations since then, or since the weight was last changed.
    """

    weight: float
    best: float = -math.inf
    waited: int = 0


class NSRAES(NoveltyES):
    """The ranks of fitness and of novelty, weighted w and 1 - w; w falls when nothing improves, and rises when it does.

    The fitness that w goes by is that of an agent's centre before its update, since it is evaluated along with the
    population, and w changes before the update is made. With one agent that is the published sequence, in which the
    centre is evaluated after an update and w serves the next one, but for the initial centre, which counts here, too.
    """

    varying = NoveltyES.varying

    def __init__(
        self,
        centre_P: NDArray[np.float32],
        perturbation: Perturbation,
        seed: int = 0,
        *,
        fitness_weight: float = 1.0,
        least_weight: float = 0.0,
        weight_step: float = 0.05,
        patience: int = 50,
        **novelty: Any,
    ) -> None:
        """Starts as any of them.

        Args:
            centre_P: Where to start, float32; copied.
            perturbation: Numbered directions.
            seed: Of the run.
            fitness_weight: w at the start, from 0 to 1.
            least_weight: Below which it does not fall.
            weight_step: By how much it rises or falls.
            patience: Generations without a new best mean fitness after which it falls.
            novelty: As for the others.
        """
        super().__init__(centre_P, perturbation, seed, **novelty)
        if not 0 <= least_weight <= fitness_weight <= 1:
            raise ConfigurationError(
                "fitness_weight must be from least_weight to 1, and least_weight at least 0; got "
                f"fitness_weight {fitness_weight} and least_weight {least_weight}.",
                argument="fitness_weight",
            )
        require_finite("weight_step", weight_step, at_least=0)
        if patience < 1:
            raise ConfigurationError(f"patience must be at least 1; got {patience}.", argument="patience")
        self._least, self._step, self._patience = least_weight, weight_step, patience
        self._balance = Balance(fitness_weight)

    def _next(self, fitness: float) -> Balance:
        now = self._balance
        if fitness > now.best:
            return Balance(min(1.0, now.weight + self._step), fitness)
        if now.waited + 1 >= self._patience:
            return Balance(max(self._least, now.weight - self._step), now.best)
        return Balance(now.weight, now.best, now.waited + 1)

    def _fitness_weight(self, fitness: float) -> float:
        return self._next(fitness).weight

    def _tell(self, evaluation: Evaluation) -> dict[str, float]:
        metrics = super()._tell(evaluation)
        self._balance = self._next(self._fitness(evaluation))  # not where the step above could not be made
        return {**metrics, "novelty/fitness_weight": self._balance.weight}

    def state_dict(self) -> dict[str, Any]:
        """Also where the weight stands."""
        return {**super().state_dict(), "balance": asdict(self._balance)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """As for the others."""
        super().load_state_dict(state)
        self._balance = Balance(**state["balance"])
