"""NSRA-ES: trades fitness against novelty, shifting towards novelty while fitness stagnates.

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
from distes.strategies.novelty_search import NoveltySearch


@dataclass(frozen=True)
class Balance:
    """The state of the adaptive weight.

    Attributes:
        weight: The paper's w, the weight of fitness.
        best: The paper's f_best, the best mean fitness of any agent's centre so far.
        waited: The paper's t_best, generations since `best` or `weight` last changed.
    """

    weight: float
    best: float = -math.inf
    waited: int = 0


class NSRAES(NoveltySearch):
    """NSRA-ES: follows fitness with weight w and novelty with 1 - w, and adapts w (Conti et al. 2018, algorithm 3).

    The loop is that of `NoveltySearch`, where w changes before each update:

        f = mean fitness of the agent's centre
        if f > f_best:                        w <- min(1, w + weight_step), f_best <- f
        else if no change for patience turns: w <- max(least_weight, w - weight_step)

    f is the fitness before the update, since the centre is evaluated with its population. With one agent this is the
    published sequence, which evaluates the centre after an update; only the initial centre counts here in addition.

    `NSRES` keeps w at 1/2, `NSES` at 0. Take it where it is not known whether the reward is deceptive.
    """

    varying = NoveltySearch.varying
    _written_to = NoveltySearch._written_to

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
        **arguments: Any,
    ) -> None:
        """Starts one agent at the centre, and the others at fresh initial parameters of its kind.

        Args:
            centre_P: The initial centre, (P,) float32; copied.
            perturbation: Numbered directions.
            seed: The seed of the run.
            fitness_weight: Initial weight of fitness, w, from 0 to 1.
            least_weight: Lower limit of w.
            weight_step: Amount by which w rises or falls.
            patience: Generations without a new best mean fitness after which w falls.
            arguments: The arguments of `NSES`.
        """
        super().__init__(centre_P, perturbation, seed, **arguments)
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
        """Returns the state of `NoveltySearch`, and the balance of fitness and novelty."""
        return {**super().state_dict(), "balance": asdict(self._balance)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Loads a state from `state_dict`.

        Raises:
            ConfigurationError: The stored state has another number of agents, or centres of another size.
            CheckpointError: An archive or a behaviour does not fit.
        """
        super().load_state_dict(state)
        self._balance = Balance(**state["balance"])
