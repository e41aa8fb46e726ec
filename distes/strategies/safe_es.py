"""OpenAI-ES that perturbs each parameter as far as the policy's answers bear it.

Safe mutations (Lehman, Chen, Clune and Stanley 2018, arXiv:1712.06563, section 3.2) as the form of a search
distribution: where a deep or recurrent policy's answers depend much on a parameter, its sigma is small.

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
    """A parameter's sigma is inversely proportional to the answers' sensitivity to it, at the centre of the moment.

    They are scaled so that a step from the centre to a member is as long as OpenAI-ES's of the same sigma. The estimate
    is the sum of these steps, shaped fitness times step: the natural gradient of such a distribution, up to scale.
    """

    def __init__(
        self,
        centre_P: NDArray[np.float32],
        perturbation: Perturbation,
        seed: int = 0,
        sensitivity: Callable[[], Sensitivity] | None = None,
        *,
        mutation: Literal["sm_g_sum", "sm_g_abs"] = "sm_g_abs",
        **as_openai_es: Any,
    ) -> None:
        """Starts at a centre.

        Args:
            centre_P: Where to start, float32; copied.
            perturbation: Numbered directions; Dense ones, since each parameter has a sigma of its own.
            seed: Of the run.
            sensitivity: Measures how sensitive the policy is.
            mutation: How sensitivity is measured: sm_g_sum, where opposing gradients cancel, in one backward pass per
                number of an answer; or sm_g_abs, where they do not, in one for each answer.
            as_openai_es: The arguments of OpenAIES.
        """
        require_dense(perturbation, type(self).__name__)
        if mutation not in KINDS:
            raise ConfigurationError(
                f"mutation must be one of {', '.join(KINDS)}; got {mutation!r}.{did_you_mean(mutation, KINDS)}",
                argument="mutation",
            )
        self._measured = required(None if sensitivity is None else sensitivity())
        self._kind = KINDS[mutation]
        super().__init__(centre_P, perturbation, seed, **as_openai_es)
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
        """Measures at the present centre; a function of it, so no state of its own."""
        form_P: Floats = np.reciprocal(safe(self._measured(self.centre_P, self._kind)))
        length = np.sqrt(np.square(form_P, dtype=np.float64).mean())
        if length == 0:
            raise ConfigurationError(
                "The policy's answers have no finite derivative by any of its parameters at this centre; use "
                "another policy, or OpenAIES."
            )
        self._form_P: Floats = form_P / np.float32(length)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Refuses a centre of another size."""
        super().load_state_dict(state)
        self._settle()
