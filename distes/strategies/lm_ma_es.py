"""LM-MA-ES: matrix adaptation with limited memory, which learns dependencies among many parameters.

Loshchilov, Glasmachers and Beyer 2017, "Limited-Memory Matrix Adaptation for Large Scale Black-box Optimization",
arXiv:1705.06693, algorithm 1. For few parameters the paper's rates would exceed 1; they are limited to 1.

Axes: P parameters, K vectors of the memory, M parents.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distes.errors import ConfigurationError
from distes.perturbations.base import Perturbation
from distes.population import Floats, Transform
from distes.strategies.adaptive import AdaptiveES, State, exp
from distes.strategies.arguments import initial_sigma, usual_population
from distes.strategies.update.recombination import Doubles, Recombination, path_after


@dataclass(frozen=True, eq=False)
class Memory(State):
    """The step size, and paths of the centre over different time scales.

    Attributes:
        sigma: The step size.
        sigma_path_P: The paper's p_sigma.
        vectors_KP: The paper's m_1 to m_K, float32, since they travel to workers.
        products_KK: The inner products of m_1 to m_K. They are updated with the vectors: computing them anew would take
            K times as long.
    """

    sigma: float
    sigma_path_P: Doubles
    vectors_KP: Floats
    products_KK: Doubles


class LMMAES(AdaptiveES[Memory]):
    """LM-MA-ES: a transform of few vectors learns dependencies among parameters (Loshchilov et al. 2017).

    One generation of algorithm 1, with centre y, step size sigma, vectors m_1 to m_K, and weights w_i of the best half:

        z_k ~ N(0, I)
        d_k = z_k; for j = 1..K: d_k <- (1 - c_d,j) d_k + c_d,j m_j (m_j . d_k)
        rank fitness(y + sigma d_k)
        y <- y + sigma sum_i w_i d_i
        p_sigma <- (1 - c_sigma) p_sigma + sqrt(c_sigma (2 - c_sigma) mu_w) sum_i w_i z_i
        m_j <- (1 - c_c,j) m_j + sqrt(c_c,j (2 - c_c,j) mu_w) sum_i w_i z_i
        sigma <- sigma exp(c_sigma / 2 (|p_sigma|^2 / P - 1))

    Not LM-CMA-ES, an earlier algorithm of the same author that stores pairs of vectors. `SepCMAES` learns a variance
    per parameter and no dependencies; `GuidedES` takes its subspace from gradient estimates and does not adapt sigma.

    Take it for ill-conditioned problems whose parameters depend on each other; it needs K vectors of P in memory.
    """

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
        """Starts in generation 0 at a centre.

        Args:
            centre_P: The initial centre, (P,) float32; copied.
            perturbation: Numbered directions; Dense ones, since they are mixed.
            seed: The seed of the run.
            population_size: Members per generation; null for 4 + 3 ln P.
            sigma: Initial standard deviation.
            memory: Number of vectors of P that are kept, and travel along with the centre; null for 4 + 3 ln P.
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
        self._recombination = Recombination.of(members)
        self._c_sigma = min(1.0, 2 * members / size)
        self._c_d_K = 1 / (1.5**each_K * size)
        c_c_K = np.minimum(1, members / (4.0**each_K * size))
        # Rounded to float32 as the vectors are, so that `products_KK` follows them.
        self._keep_K = (1 - c_c_K).astype(np.float32)
        self._add_K = np.sqrt(self._recombination.mu_eff * c_c_K * (2 - c_c_K)).astype(np.float32)

    def _sigma_of(self, state: Memory) -> float:
        return state.sigma

    def _transform(self) -> Transform | None:
        """Returns algorithm 1's loop over the vectors as one map, d = scale z + M^T C M z, with rows m_1 to m_K of M.

        The step d <- (1 - c) d + c m_j (m_j . d) multiplies scale and C by 1 - c. Row j of C then gains
        c (scale e_j + (M m_j)^T C), with the scale and C from before the step.
        """
        used = min(self._generation, len(self._c_d_K))
        if used == 0:
            return None
        scale, mixing_KK = 1.0, np.zeros((used, used))
        for j, c_d in enumerate(self._c_d_K[:used].tolist()):
            row_K = (self._state.products_KK[j, :used, None] * mixing_KK).sum(axis=0)
            row_K[j] += scale
            mixing_KK *= 1 - c_d
            mixing_KK[j] += c_d * row_K
            scale *= 1 - c_d
        return Transform(scale, self._state.vectors_KP[:used], mixing_KK)

    def _after(self, fitness_NS: Doubles) -> Memory:
        state, transform = self._state, self._transform()
        ids_M = self._ids(self._pairs)[self._recombination.best(fitness_NS)]
        z_P = self._perturbation.weighted_sum(ids_M, self._recombination.weights_M)  # sum_i w_i z_i
        d_P = z_P if transform is None else transform(z_P)  # sum_i w_i d_i, since the map is linear
        mu_w = self._recombination.mu_eff
        p_sigma_P = path_after(state.sigma_path_P, self._c_sigma, mu_w, z_P.astype(np.float64))
        squared_length = float(np.square(p_sigma_P).sum())
        return Memory(
            state.centre_P + state.sigma * d_P.astype(np.float64),
            state.sigma * exp(self._c_sigma / 2 * (squared_length / len(z_P) - 1)),
            p_sigma_P,
            *self._remembered(z_P),
        )

    def _remembered(self, z_P: Floats) -> tuple[Floats, Doubles]:
        """Returns the next vectors, each a path with its own rate c_c, and their inner products."""
        m_KP, keep_K, add_K = self._state.vectors_KP, self._keep_K, self._add_K
        vectors_KP = np.empty_like(m_KP)
        for m_P, keep, add, after_P in zip(m_KP, keep_K, add_K, vectors_KP, strict=True):
            np.multiply(m_P, keep, out=after_P)
            after_P += add * z_P
        m_dot_z_K = np.array([np.multiply(m_P, z_P, dtype=np.float64).sum() for m_P in m_KP])
        z_dot_z = float(np.multiply(z_P, z_P, dtype=np.float64).sum())
        keep_K, add_K = keep_K.astype(np.float64), add_K.astype(np.float64)
        crossed_KK = np.outer(keep_K * m_dot_z_K, add_K)
        products_KK = np.outer(keep_K, keep_K) * self._state.products_KK + z_dot_z * np.outer(add_K, add_K)
        return vectors_KP, products_KK + crossed_KK + crossed_KK.T
