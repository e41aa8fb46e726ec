"""OpenAI-ES.

Salimans, Ho, Chen, Sidor and Sutskever 2017, "Evolution Strategies as a Scalable Alternative to Reinforcement
Learning", arXiv:1703.03864, algorithm 2, as shipped in the authors' released code.

Axes: P parameters, N antithetic pairs, 2 the signs (+, -).
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from distes.perturbations.base import Perturbation
from distes.strategies.gradient import GradientES
from distes.strategies.update.estimate import Estimate
from distes.strategies.update.optimizer import FlatOptimizer
from distes.strategies.update.schedules import schedule_of
from distes.strategies.update.shaping import shaping


class OpenAIES(GradientES):
    """OpenAI-ES: antithetic Gaussian perturbations, shaped fitness, and a torch optimiser (Salimans et al. 2017).

    One generation, with centre theta and N pairs:

        eps_i ~ N(0, I)
        F_i+, F_i- = fitness(theta + sigma eps_i), fitness(theta - sigma eps_i)
        u = fitness_shaping(F)
        g = 1 / 2N sum_i (u_i+ - u_i-) eps_i
        theta <- optimizer(theta, g - l2_coeff theta)

    With `decay_towards: initial`, the last term is l2_coeff (theta - theta_0), with theta_0 the initial centre.

    All parameters share one sigma, which follows a schedule and does not adapt; `PGPE` and `SNES` adapt a sigma per
    parameter. `ARS` weights pairs by raw returns in place of ranks.

    Take it first: it has few arguments, and time and memory linear in the number of parameters.
    """

    def __init__(
        self,
        centre_P: NDArray[np.float32],
        perturbation: Perturbation,
        seed: int = 0,
        *,
        population_size: int = 32,
        sigma: float | dict[str, Any] = 0.1,
        learning_rate: float | dict[str, Any] = 0.1,
        l2_coeff: float = 0.0,
        decay_towards: Literal["zero", "initial"] = "zero",
        fitness_shaping: Literal["centered_rank", "zscore", "sign", "raw", "centered_sign_rank"] = "centered_rank",
        optimizer: str = "Adam",
        optimizer_args: dict[str, Any] | None = None,
        timesteps_per_generation: int | None = None,
        max_population: int | None = None,
    ) -> None:
        """Starts in generation 0 at a centre.

        Args:
            centre_P: The initial centre, (P,) float32; copied.
            perturbation: Numbered directions.
            seed: The seed of the run.
            population_size: Members per generation; even, since they come in antithetic pairs.
            sigma: Standard deviation of the perturbation: a number, or a schedule such as {schedule: cosine, start: 1,
                end: 0.1, generations: 300} (or linear, exponential; `restarts: true` starts again at the end).
            learning_rate: Learning rate of the optimiser: a number or a schedule.
            l2_coeff: Weight decay, added to the gradient before the optimiser sees it (not decoupled).
            decay_towards: Where weight decay pulls to: zero, or the initial parameters, as fine-tuning needs it.
            fitness_shaping: How utilities are made from fitness. `centered_sign_rank` ranks the sums of the signs of
                rewards, in place of returns.
            optimizer: Name of a class in torch.optim: Adam, or SGD (with `optimizer_args: {momentum: 0.9}`); ClipUp; or
                an import path.
            optimizer_args: Further arguments of the optimiser.
            timesteps_per_generation: Evaluate rounds of population_size members until they have taken this many
                environment steps; null for one round.
            max_population: Start no round that would exceed this many members; null for no limit.
        """
        rate = schedule_of("learning_rate", learning_rate)
        self._shape, self.ranks_signs = shaping(fitness_shaping), fitness_shaping == "centered_sign_rank"
        super().__init__(
            perturbation,
            seed,
            FlatOptimizer(optimizer, centre_P, rate.start, optimizer_args or {}),
            population_size=population_size,
            sigma=schedule_of("sigma", sigma),
            learning_rate=rate,
            l2_coeff=l2_coeff,
            decay_towards=decay_towards,
            timesteps_per_generation=timesteps_per_generation,
            max_population=max_population,
        )

    def _estimate(self, fitness_N2: NDArray[np.float64]) -> Estimate:
        utility_N2 = self._shape(fitness_N2)
        # Algorithm 2, line 11, antithetic. The paper divides by N * sigma, the released code by 2N and not by sigma;
        # so do we: published learning rates and weight decays are tuned for that scale.
        return Estimate(utility_N2[:, 0] - utility_N2[:, 1], utility_N2.size)
