"""OpenAI-ES with a sigma per parameter, scaled by the sensitivity of the policy's outputs.

The scale is that of safe mutations: Lehman, Chen, Clune and Stanley 2018, "Safe Mutations for Deep and Recurrent Neural
Networks through Output Gradients", arXiv:1712.06563, section 3.2.

Axes: P parameters, N antithetic pairs.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from distes.errors import ConfigurationError, did_you_mean
from distes.members.mutations import required
from distes.members.sensitivity import Kind, Sensitivity, safe
from distes.perturbations.base import Perturbation
from distes.population import Floats
from distes.strategies.arguments import require_dense
from distes.strategies.openai_es import OpenAIES
from distes.strategies.update.estimate import Estimate

KINDS: dict[str, Kind] = {"sm_g_sum": "sum", "sm_g_abs": "abs"}


class SafeES(OpenAIES):
    """OpenAI-ES with smaller steps in parameters that the policy's outputs are sensitive to (Lehman et al. 2018).

    One generation, with s the sensitivity of the policy's outputs to each parameter at the centre theta:

        form = 1 / s, scaled to a root mean square of 1
        F_i+, F_i- = fitness(theta + sigma form * eps_i), fitness(theta - sigma form * eps_i)
        g = 1 / 2N sum_i (u_i+ - u_i-) form * eps_i
        theta <- optimizer(theta, g - l2_coeff theta)

    A step is as long as a step of `OpenAIES` with the same sigma. g is the natural gradient of this distribution, up to
    scale. The sensitivity comes from gradients of the policy, not from fitness: `PGPE` and `SNES` learn a sigma per
    parameter from fitness. `DeepGA` has safe mutations for genetic algorithms.

    Take it for deep or recurrent policies, where equal steps in all parameters change some outputs too much.
    """

    def __init__(
        self,
        centre_P: NDArray[np.float32],
        perturbation: Perturbation,
        seed: int = 0,
        sensitivity: Callable[[], Sensitivity] | None = None,
        *,
        mutation: Literal["sm_g_sum", "sm_g_abs"] = "sm_g_abs",
        **arguments: Any,
    ) -> None:
        """Starts in generation 0 at a centre.

        Args:
            centre_P: The initial centre, (P,) float32; copied.
            perturbation: Numbered directions; Dense ones, since each parameter has a sigma of its own.
            seed: The seed of the run.
            sensitivity: Measures the policy's sensitivity; called once, here.
            mutation: How sensitivity is measured: sm_g_sum, where opposing gradients cancel, with one backward pass per
                number of an output; or sm_g_abs, where they do not, with one backward pass per output.
            arguments: The arguments of `OpenAIES`.
        """
        require_dense(perturbation, type(self).__name__)
        if mutation not in KINDS:
            raise ConfigurationError(
                f"mutation must be one of {', '.join(KINDS)}; got {mutation!r}.{did_you_mean(mutation, KINDS)}",
                argument="mutation",
            )
        self._measured = required(None if sensitivity is None else sensitivity())
        self._kind = KINDS[mutation]
        super().__init__(centre_P, perturbation, seed, **arguments)
        self._settle()

    def _sigma(self) -> Floats:
        sigma_P: Floats = self._form_P * np.float32(self._sigma_schedule(self._generation))
        return sigma_P

    def _gradient(self, ids_N: NDArray[np.int64], estimate: Estimate) -> Floats:
        gradient_P: Floats = self._form_P * super()._gradient(ids_N, estimate)
        return gradient_P

    def _learned(self, gradient_P: Floats) -> None:
        self._settle()

    def _settle(self) -> None:
        """Measures the sensitivity at the present centre. It depends on nothing else, so it is not saved."""
        form_P: Floats = np.reciprocal(safe(self._measured(self.centre_P, self._kind)))
        length = np.sqrt(np.square(form_P, dtype=np.float64).mean())
        if length == 0:
            raise ConfigurationError(
                "The policy's answers have no finite derivative by any of its parameters at this centre; use "
                "another policy, or OpenAIES."
            )
        self._form_P: Floats = form_P / np.float32(length)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Loads a state from `state_dict`.

        Raises:
            ConfigurationError: The stored centre has another size.
        """
        super().load_state_dict(state)
        self._settle()
