"""LM-MA-ES, matrix adaptation with a limited memory: dependencies among many parameters, from a few vectors.

Loshchilov, Glasmachers and Beyer 2017, "Limited-Memory Matrix Adaptation for Large Scale Black-box Optimization",
arXiv:1705.06693, algorithm 1. For few parameters the paper's rates would exceed 1; there they are 1.

Axes: P parameters, K vectors of the memory, M parents.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distes.errors import ConfigurationError
from distes.perturbations.base import Perturbation
from distes.population import Floats, Spread
from distes.strategies.adaptive import AdaptiveES, State, exp
from distes.strategies.arguments import initial_sigma, usual_population
from distes.strategies.update.recombination import Doubles, Recombination, path_after


@dataclass(frozen=True, eq=False)
class Memory(State):
    """Where the centre has gone lately, over times of different length.

    Attributes:
        sigma: Of the whole distribution.
        sigma_path_P: p_sigma.
        vectors_KP: m_1 to m_K, float32, since they travel.
        products_KK: Their inner products. Followed by their recursion: to form them would take K times as long.
    """

    sigma: float
    sigma_path_P: Doubles
    vectors_KP: Floats
    products_KK: Doubles


class LMMAES(AdaptiveES[Memory]):
    """Members are centre + sigma * T z; T is a product of K maps, each the identity and one vector's outer product."""

    def __init__(
        self,
        centre_P: NDArray[np.float32],
        perturbation: Perturbation,
        seed: int = 0,
        *,
        population_size: int | None = None,
        sigma: float = 0.1,
        memory: int | None = None,
    ) -> None:
        """Starts at a centre.

        Args:
            centre_P: Where to start, float32; copied.
            perturbation: Numbered directions; Dense ones, since they are mixed.
            seed: Of the run.
            population_size: Members per generation; null for 4 + 3 ln P.
            sigma: Standard deviation to begin with.
            memory: How many vectors of P are kept, and travel along with the centre; null for 4 + 3 ln P.
        """
        size = len(centre_P)
        kept = usual_population(size) if memory is None else memory
        if kept < 1:
            raise ConfigurationError(f"memory must be at least 1, or null; got {kept}.", argument="memory")
        super().__init__(
            Memory(
                centre_P.astype(np.float64),
                initial_sigma(sigma),
                np.zeros(size),
                np.zeros((kept, size), np.float32),
                np.zeros((kept, kept)),
            ),
            perturbation,
            seed,
            population_size=population_size,
        )
        members, each_K = self._pairs, np.arange(kept)
        self._parents = Recombination.of(members)
        self._c_sigma = min(1.0, 2 * members / size)
        self._c_d_K = 1 / (1.5**each_K * size)
        c_c_K = np.minimum(1, members / (4.0**each_K * size))
        # Rounded, since the vectors are: else their products would drift away from what these foresee.
        self._keep_K = (1 - c_c_K).astype(np.float32)
        self._add_K = np.sqrt(self._parents.effective * c_c_K * (2 - c_c_K)).astype(np.float32)

    def _sigma(self) -> float:
        return self._state.sigma

    def _spread(self) -> Spread | None:
        """The paper's loop over the vectors, each of which takes what the last one left, as d = scale z + M^T C M z.

        From (1 - c) d + c m_j (m_j . d) follow a new scale (1 - c) scale, and a C whose entries are multiplied by 1 - c
        and to whose row j comes c (scale e_j + (M m_j)^T C).
        """
        used = min(self._generation, len(self._c_d_K))
        if used == 0:
            return None
        scale, mixing_KK = 1.0, np.zeros((used, used))
        for j, c in enumerate(self._c_d_K[:used].tolist()):
            row_K = (self._state.products_KK[j, :used, None] * mixing_KK).sum(axis=0)
            row_K[j] += scale
            mixing_KK *= 1 - c
            mixing_KK[j] += c * row_K
            scale *= 1 - c
        return Spread(scale, self._state.vectors_KP[:used], mixing_KK)

    def _after(self, fitness_NS: Doubles) -> Memory:
        state, mass, spread = self._state, self._parents.effective, self._spread()
        ids_M = self._ids(self._pairs)[self._parents.best(fitness_NS)]
        mean_P = self._perturbation.weighted_sum(ids_M, self._parents.weights_M)
        step_P = mean_P if spread is None else spread(mean_P)
        sigma_path_P = path_after(state.sigma_path_P, self._c_sigma, mass, mean_P.astype(np.float64))
        squared_length = float(np.square(sigma_path_P).sum())
        return Memory(
            state.centre_P + state.sigma * step_P.astype(np.float64),
            state.sigma * exp(self._c_sigma / 2 * (squared_length / len(mean_P) - 1)),
            sigma_path_P,
            *self._remembered(mean_P),
        )

    def _remembered(self, mean_P: Floats) -> tuple[Floats, Doubles]:
        """The vectors, each a path that forgets at its own rate, and what becomes of their inner products."""
        old_KP, keep_K, add_K = self._state.vectors_KP, self._keep_K, self._add_K
        vectors_KP = np.empty_like(old_KP)
        for old_P, keep, add, new_P in zip(old_KP, keep_K, add_K, vectors_KP, strict=True):
            np.multiply(old_P, keep, out=new_P)
            new_P += add * mean_P
        with_mean_K = np.array([np.multiply(old_P, mean_P, dtype=np.float64).sum() for old_P in old_KP])
        of_mean = float(np.multiply(mean_P, mean_P, dtype=np.float64).sum())
        keep_K, add_K = keep_K.astype(np.float64), add_K.astype(np.float64)
        crossed_KK = np.outer(keep_K * with_mean_K, add_K)
        products_KK = np.outer(keep_K, keep_K) * self._state.products_KK + of_mean * np.outer(add_K, add_K)
        return vectors_KP, products_KK + crossed_KK + crossed_KK.T
