"""Augmented random search (ARS).

Mania, Guy and Recht 2018, "Simple random search of static linear policies is competitive for reinforcement learning",
arXiv:1803.07055, algorithm 2: V1 without and V2 with `task.normalize_observations`, V1-t and V2-t with
`top_directions`. In the paper policies are linear and start at zero (`Linear`, `bias: false`, `initial_scale: 0`).

Axes: P parameters, N antithetic pairs, 2 the signs (+, -).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from distes.errors import ConfigurationError
from distes.perturbations.base import Perturbation
from distes.strategies.arguments import require_members
from distes.strategies.gradient import GradientES
from distes.strategies.update.estimate import Estimate
from distes.strategies.update.optimizer import FlatOptimizer
from distes.strategies.update.schedules import schedule_of


class ARS(GradientES):
    """Augmented random search: the best directions, weighted by their returns (Mania, Guy and Recht 2018).

    One generation of algorithm 2, with centre M, N pairs, and b = top_directions:

        r_k+, r_k- = fitness(M + nu delta_k), fitness(M - nu delta_k)
        keep the b directions with the largest max(r_k+, r_k-)
        sigma_R = standard deviation of the 2b returns kept
        M <- M + alpha / (b sigma_R) sum_k (r_k+ - r_k-) delta_k

    The argument `sigma` is the paper's nu, not its sigma_R. Unlike `OpenAIES`, ARS does not rank returns, so a single
    extreme return changes the step; the division by sigma_R only removes their scale.

    Take it for linear policies on control tasks, with `task.normalize_observations` (the paper's V2).
    """

    def __init__(
        self,
        centre_P: NDArray[np.float32],
        perturbation: Perturbation,
        seed: int = 0,
        *,
        population_size: int = 16,
        sigma: float | dict[str, Any] = 0.03,
        learning_rate: float | dict[str, Any] = 0.02,
        top_directions: int | None = None,
        reward_scaling: bool = True,
        optimizer: str = "SGD",
        optimizer_args: dict[str, Any] | None = None,
    ) -> None:
        """Starts in generation 0 at a centre.

        Args:
            centre_P: The initial centre, (P,) float32; copied.
            perturbation: Numbered directions.
            seed: The seed of the run.
            population_size: Members per generation, 2N in the paper; even, since they come in antithetic pairs.
            sigma: Standard deviation of the perturbation, nu in the paper: a number, or a schedule such as
                {schedule: linear, start: 0.03, end: 0.01, generations: 300}.
            learning_rate: Learning rate, alpha in the paper: a number or a schedule.
            top_directions: Number of pairs that count, b in the paper: those with the best better member; null for all.
            reward_scaling: Whether to divide the step by the standard deviation of the returns that count.
            optimizer: Name of a class in torch.optim, ClipUp, or an import path; the paper's is SGD.
            optimizer_args: Further arguments of the optimiser.
        """
        require_members(population_size)
        rate = schedule_of("learning_rate", learning_rate)
        if top_directions is not None and not 1 <= top_directions <= population_size // 2:
            raise ConfigurationError(
                f"top_directions must be from 1 to {population_size // 2}, the pairs of a generation; got "
                f"{top_directions}.",
                argument="top_directions",
            )
        self._b, self._scaled = top_directions or population_size // 2, reward_scaling
        super().__init__(
            perturbation,
            seed,
            FlatOptimizer(optimizer, centre_P, rate.start, optimizer_args or {}),
            population_size=population_size,
            sigma=schedule_of("sigma", sigma),
            learning_rate=rate,
        )

    def _estimate(self, fitness_N2: NDArray[np.float64]) -> Estimate:
        # Algorithm 2, line 6: the b best directions. Of ties the first count; the released code keeps more than b.
        best_b = np.argsort(-fitness_N2.max(axis=1), kind="stable")[: self._b]
        sigma_R = float(fitness_N2[best_b].std())
        weights_N = np.zeros(len(fitness_N2))
        if sigma_R > 0 or not self._scaled:  # if all returns are equal, there is no direction to follow
            weights_N[best_b] = fitness_N2[best_b, 0] - fitness_N2[best_b, 1]
        scale = sigma_R if self._scaled and sigma_R > 0 else 1.0
        return Estimate(weights_N, self._b * scale, {"fitness/std_of_top": sigma_R})  # line 7
