"""Dense noise of one slice: a direction is P neighbouring numbers of the table (OpenAI-ES, Salimans et al. 2017)."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from distes.errors import ConfigurationError
from distes.noise.table import NoiseTable
from distes.perturbations.slices import Slices
from distes.policies.layout import Layout


class Dense(Slices):
    """Direction number i is the slice [i, i + P) of the noise table."""

    def __init__(self, noise: NoiseTable, layout: Layout) -> None:
        """Checks that the table is large enough for the policy.

        Args:
            noise: The shared table.
            layout: The layout of the policy's parameters.

        Raises:
            ConfigurationError: If the table has fewer than twice the policy's parameters.
        """
        if noise.size < 2 * layout.size:
            raise ConfigurationError(
                f"A noise table of {noise.size:,} numbers is too small for a policy of {layout.size:,} parameters, "
                f"since directions are slices of it: set --noise.size to at least {2 * layout.size:,}, better to "
                f"{10 * layout.size:,}; or use --perturbation DenseByTensor, which needs twice the largest tensor."
            )
        super().__init__(noise, layout)

    @property
    def number_of_directions(self) -> int:
        """The number of slices of P numbers in the table."""
        return self.noise.size - self.size + 1

    def slices(self, ids_N: NDArray[np.int64]) -> Iterable[tuple[slice, NDArray[np.int64]]]:
        """Returns the whole vector as one span, whose slice begins at a direction's number."""
        return ((slice(0, self.size), ids_N),)
