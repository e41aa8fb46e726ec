"""Random search over initial parameters (Such et al. 2017, arXiv:1712.06567, section 4.1, "RS")."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from distes.perturbations.base import Perturbation
from distes.population import Evaluation, Genome
from distes.strategies.elite import EliteSearch, EliteState


class RandomSearch(EliteSearch):
    """Random search: every member is a freshly initialised policy (Such et al. 2017, "RS").

    One generation:

        draw population_size policies from the initialisation, and evaluate each once
        elite = the best of `candidates`, each over validation_episodes

    Not augmented random search, which estimates a gradient: that is `ARS`. Only the elite is kept from one generation
    to the next.

    Take it as a baseline: with the same number of evaluations, a search should do better.
    """

    def __init__(
        self,
        centre_P: NDArray[np.float32],
        perturbation: Perturbation,
        seed: int = 0,
        *,
        population_size: int = 1000,
        candidates: int = 10,
        validation_episodes: int = 30,
        initialization: Literal["policy", "glorot", "he", "orthogonal"] = "policy",
    ) -> None:
        """Starts at generation 0.

        Args:
            centre_P: The policy's own initial parameters.
            perturbation: Numbered directions.
            seed: The seed of the run.
            population_size: Members per generation.
            candidates: Number of policies evaluated again to choose the elite: the elite so far and the generation's
                best.
            validation_episodes: Episodes of each candidate, evaluated with the next generation. 0 trusts the best
                single score, for fitness without noise.
            initialization: How fresh parameters are drawn. policy: each tensor with the standard deviation of the
                policy's own; or glorot, he, orthogonal.
        """
        super().__init__(
            centre_P,
            perturbation,
            seed,
            population_size=population_size,
            sigma=0.0,  # there are no mutations
            initialization=initialization,
            candidates=candidates,
            validation_episodes=validation_episodes,
        )

    def _survivors(
        self, state: EliteState, offspring: list[Genome], evaluation: Evaluation
    ) -> tuple[list[Genome], dict[str, float]]:
        return [], {}
