"""Guided ES, which searches more in the subspace of its last gradient estimates.

Maheswaranathan, Metz, Tucker, Choi and Sohl-Dickstein 2019, "Guided evolutionary strategies: augmenting random search
with surrogate gradients", arXiv:1806.10230, algorithm 1. The paper's surrogate gradients come from outside; here they
are the strategy's own last estimates, as in Liu et al. 2020, "Self-Guided Evolution Strategies with Historical
Estimated Gradients", doi:10.24963/ijcai.2020/205. Their adaptation of alpha is not implemented.

Axes: P parameters, N antithetic pairs, K estimates.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distes.errors import ConfigurationError
from distes.perturbations.base import Perturbation
from distes.population import Floats, Transform
from distes.runs.state_check import is_floats, require
from distes.strategies.arguments import require_dense
from distes.strategies.openai_es import OpenAIES
from distes.strategies.update.estimate import norm
from distes.strategies.update.optimizer import MEMORY, require_size

# A unit vector whose part outside the others' span is shorter than this lies in the span, up to float32 rounding.
NEW = 1e-5


class GuidedES(OpenAIES):
    """Guided ES: OpenAI-ES with larger steps in the subspace of past gradients (Maheswaranathan et al. 2019).

    One generation of algorithm 1, with K = subspace and P parameters:

        U = orthonormal basis of the last K estimates, (K, P)
        eps_i ~ N(0, alpha I + (1 - alpha) P / K U^T U)
        g = 1 / 2N sum_i (u_i+ - u_i-) eps_i
        theta <- optimizer(theta, g - l2_coeff theta)

    The paper's covariance is 1 / P of this, so its sigma is sqrt(P) times the sigma here. With this scale a step is as
    long as a step of `OpenAIES` with the same sigma, and alpha = 1 is `OpenAIES`. The paper's beta is part of the
    learning rate. The first K generations are those of `OpenAIES`.

    `LMMAES` also stretches its distribution along a few vectors, but learns them from the ranking and adapts sigma.

    Take it for many parameters and few members, if the gradient changes slowly from generation to generation.
    """

    varying: tuple[str, ...] = (*MEMORY, "estimates_KP")
    _written_to = OpenAIES._written_to

    def __init__(
        self,
        centre_P: NDArray[np.float32],
        perturbation: Perturbation,
        seed: int = 0,
        *,
        alpha: float = 0.5,
        subspace: int = 10,
        **arguments: Any,
    ) -> None:
        """Starts in generation 0 at a centre.

        Args:
            centre_P: The initial centre, (P,) float32; copied.
            perturbation: Numbered directions; Dense ones, since they are longer within the subspace.
            seed: The seed of the run.
            alpha: Share of the variance that is the same in all directions; the rest lies in the subspace. Above 0, at
                most 1.
            subspace: Number of estimates that span the subspace, K. K vectors of P travel along with the centre.
            arguments: The arguments of `OpenAIES`.
        """
        require_dense(perturbation, type(self).__name__)
        size = len(centre_P)
        if not 0 < alpha <= 1:
            raise ConfigurationError(f"alpha must be above 0 and at most 1; got {alpha}.", argument="alpha")
        if not 1 <= subspace <= size:
            raise ConfigurationError(
                f"subspace must be from 1 to {size}, the parameters; got {subspace}.", argument="subspace"
            )
        self._alpha, self._size = alpha, subspace
        self._estimates_KP = np.empty((0, size), np.float32)  # the oldest first; never written to
        self._guide: Transform | None = None
        super().__init__(centre_P, perturbation, seed, **arguments)

    def _transform(self) -> Transform | None:
        return self._guide

    def _learned(self, gradient_P: Floats) -> None:
        length = norm(gradient_P)
        if length > 0:  # zero if all members had the same fitness
            unit_1P = (gradient_P / np.float32(length))[None]
            self._remember(np.concatenate([self._estimates_KP, unit_1P])[-self._size :])

    def _remember(self, estimates_KP: Floats) -> None:
        self._estimates_KP, self._guide = estimates_KP, None
        if len(estimates_KP) == self._size:
            basis_KP = orthonormal(estimates_KP)
            outside = math.sqrt(self._alpha)
            inside = math.sqrt(self._alpha + (1 - self._alpha) * basis_KP.shape[1] / len(basis_KP))
            self._guide = Transform(outside, basis_KP, (inside - outside) * np.eye(len(basis_KP)))

    def state_dict(self) -> dict[str, Any]:
        """Returns the state of `OpenAIES`, and the last estimates."""
        return {**super().state_dict(), "estimates_KP": self._estimates_KP.copy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Loads a state from `state_dict`.

        Raises:
            ConfigurationError: The stored centre has another size.
            CheckpointError: The estimates do not fit.
        """
        estimates_KP = state["estimates_KP"]
        size = self._estimates_KP.shape[1]
        require_size(np.asarray(state["centre_P"]), size)
        fits = is_floats(estimates_KP, 2) and len(estimates_KP) <= self._size and estimates_KP.shape[1] == size
        wanted = f"an array of at most {self._size} vectors of {size} float32 numbers, none of them zero"
        require(fits and bool(estimates_KP.any(axis=1).all()), "/estimates_KP", wanted)
        super().load_state_dict(state)
        self._remember(estimates_KP.copy())


def orthonormal(vectors_KP: Floats) -> Floats:
    """Returns an orthonormal basis of the span of unit vectors (K, P), beginning with the last vector.

    Vectors that are linearly dependent on later ones add nothing, so the basis may have fewer than K rows. The method
    is Gram-Schmidt, applied twice, in float64; its bits depend neither on a linear algebra library nor on threads.
    """
    basis: list[Floats] = []
    for vector_P in vectors_KP[::-1]:
        rest_P = vector_P.astype(np.float64)
        for _ in range(2):
            for b_P in basis:
                rest_P -= (rest_P * b_P).sum() * b_P
        length = math.sqrt(float(np.square(rest_P).sum()))
        if length > NEW:
            basis.append((rest_P / length).astype(np.float32))
    return np.stack(basis)
