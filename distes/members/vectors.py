"""Members that are arbitrary vectors, such as those that an optimiser of another library asks for.

Axes: B members, b of them written by one call, P parameters.
"""

from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distes.errors import ConfigurationError
from distes.perturbations.base import Perturbation
from distes.population import Floats


@final
class VectorRows:
    """Writes the rows of members whose parameters are given."""

    def __init__(self, perturbation: Perturbation, rows_BP: Floats) -> None:
        """Keeps the parameters.

        Args:
            perturbation: Knows what a row holds, which must be all parameters.
            rows_BP: The parameters of each member, float32.

        Raises:
            ConfigurationError: The perturbation's rows are not written out, or of another length.
        """
        require_written_out(perturbation, "The population")
        if rows_BP.shape[1:] != (perturbation.member_size,):
            raise ConfigurationError(
                f"The population has members of {rows_BP.shape[-1]:,} parameters (rows_NP), and the policy has "
                f"{perturbation.member_size:,}."
            )
        self._rows_BP = rows_BP

    def __len__(self) -> int:
        return len(self._rows_BP)

    def write(self, centre_P: Tensor, members: NDArray[np.int64], out_bQ: Tensor) -> None:
        """Writes the rows of some members.

        Args:
            centre_P: Not read: members do not depend on a centre.
            members: Which members, (b,): integers from 0 to B - 1.
            out_bQ: float32, (b, P); row i becomes that of member members[i].
        """
        out_bQ.copy_(torch.from_numpy(self._rows_BP[members]))


def require_written_out(perturbation: Perturbation, who: str) -> None:
    """Checks that a member's row can hold any vector of parameters.

    Args:
        perturbation: Knows what a row holds.
        who: What has such members, for the message.

    Raises:
        ConfigurationError: A row holds differences of low rank from the centre.
    """
    if perturbation.row_layout.factors:
        raise ConfigurationError(
            f"{who} has members that are arbitrary vectors (rows_NP), and the perturbation "
            f"{type(perturbation).__name__} can only make members that differ from the centre by thin factors: set "
            "--perturbation Dense."
        )
