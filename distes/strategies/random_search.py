"""Random search: nothing but fresh initialisations (Such et al. 2017, arXiv:1712.06567, section 4.1, "RS").

What a search among policies is worth must show beside it, with as many evaluations.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from distes.perturbations.base import Perturbation
from distes.population import Evaluation, Genome
from distes.strategies.elite import EliteSearch


class RandomSearch(EliteSearch):
    """Each member is a fresh policy; the best of each generation are evaluated again beside the best so far."""

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
            seed: Of the run.
            population_size: Members per generation.
            candidates: How many are evaluated again for the elite: the elite so far, and the best of a generation.
            validation_episodes: Of each candidate, along with the next generation. With 0 the best single score is
                trusted: for fitness without noise.
            initialization: How fresh parameters are made. policy: each tensor with the standard deviation of the
                policy's own; or glorot, he, orthogonal.
        """
        super().__init__(
            centre_P,
            perturbation,
            seed,
            population_size=population_size,
            sigma=0.0,  # nobody has offspring
            initialization=initialization,
            candidates=candidates,
            validation_episodes=validation_episodes,
        )

    def _survivors(self, offspring: list[Genome], evaluation: Evaluation) -> tuple[list[Genome], dict[str, float]]:
        return [], {}
