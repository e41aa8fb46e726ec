"""A genetic algorithm over genomes of a few integers (Such et al. 2017, arXiv:1712.06567, algorithm 1).

The elite is chosen by evaluating candidates again, as in the paper and the released GPU code; the released CPU code
keeps the elite's first score. There is no crossover, as in both.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from distes.errors import ConfigurationError
from distes.members.sensitivity import Sensitivity
from distes.perturbations.base import Perturbation
from distes.population import Evaluation, Genome
from distes.strategies.arguments import require_finite
from distes.strategies.elite import EliteSearch, EliteState, best_first, unique


class DeepGA(EliteSearch):
    """Deep GA: truncation selection, mutation, and an elite that is always a parent (Such et al. 2017).

    One generation of algorithm 1, with N = population_size and T = parents:

        for each of N offspring: draw a parent uniformly; theta = parent + sigma eps
        evaluate the offspring once
        parents = the elite and the T - 1 best offspring
        elite = the best of `candidates`, each over validation_episodes

    A genome is a list of noise numbers, from which workers rebuild the parameters; no parameters travel. The search has
    no centre and no gradient: `OpenAIES` is the counterpart with both. `GANS` selects by novelty, and `RandomSearch`
    has no parents at all.

    Take it for large populations and sparse or discontinuous fitness, where a gradient estimate says little.
    """

    def __init__(
        self,
        centre_P: NDArray[np.float32],
        perturbation: Perturbation,
        seed: int = 0,
        sensitivity: Callable[[], Sensitivity] | None = None,
        *,
        population_size: int = 1000,
        sigma: float = 0.002,
        parents: int = 20,
        candidates: int = 10,
        validation_episodes: int = 30,
        initialization: Literal["policy", "glorot", "he", "orthogonal"] = "policy",
        mutation: Literal["gaussian", "sm_g_sum", "sm_g_abs", "sm_r"] = "gaussian",
    ) -> None:
        """Starts at generation 0.

        Args:
            centre_P: The policy's own initial parameters.
            perturbation: Numbered directions.
            seed: The seed of the run.
            sensitivity: Measures the policy's sensitivity, for safe mutations.
            population_size: Offspring per generation.
            sigma: Standard deviation of a mutation, the same in all generations: genomes are rebuilt with it. The
                paper's 0.002 is for Atari; small policies want more.
            parents: Number of parents, T in the paper: the elite and the T - 1 best offspring (truncation selection).
            candidates: Number of genomes evaluated again to choose the elite: the elite so far and the best offspring.
            validation_episodes: Episodes of each candidate, evaluated with the next generation. 0 trusts the best
                single score, for fitness without noise.
            initialization: How the first parameters are drawn. policy: each tensor with the standard deviation of the
                policy's own; or glorot, he, orthogonal.
            mutation: gaussian; or a safe mutation, for deep and recurrent policies (arXiv:1712.06563): sm_g_sum and
                sm_g_abs divide each parameter's change by the outputs' sensitivity to it, sm_r moves along a direction
                until the outputs have changed by sigma. Their sigma is a change of outputs, usually 0.01 to 1.
        """
        require_finite("sigma", sigma, above=0)
        super().__init__(
            centre_P,
            perturbation,
            seed,
            population_size=population_size,
            sigma=sigma,
            initialization=initialization,
            candidates=candidates,
            validation_episodes=validation_episodes,
            mutation=mutation,
            sensitivity=sensitivity,
        )
        if not 1 <= parents <= population_size:
            raise ConfigurationError(
                f"parents must be from 1 to {population_size}, the population_size; got {parents}.", argument="parents"
            )
        self._parent_count = parents

    def _survivors(
        self, state: EliteState, offspring: list[Genome], evaluation: Evaluation
    ) -> tuple[list[Genome], dict[str, float]]:
        fitness_N = evaluation.fitness_N2[:, 0]
        parents = unique([state.elite, *best_first(offspring, fitness_N)])[: self._parent_count]
        scores = dict(zip(offspring, fitness_N.tolist(), strict=True))
        return parents, {"parents/worst": min(scores.get(parent, state.elite_fitness) for parent in parents)}
