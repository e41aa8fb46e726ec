"""The centre itself as a member, in the form that members of a perturbation have; no noise is read for it."""

from typing import final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from distes.perturbations.base import Perturbation


@final
class CentreRows:
    """Writes rows of the centre: factors are 0, and all other parameters are the centre's.

    Axes: b members written by one call, P parameters, Q numbers of a member's row.
    """

    def __init__(self, perturbation: Perturbation, count: int = 1) -> None:
        """Keeps what a row holds.

        Args:
            perturbation: The perturbation whose row layout the rows have.
            count: Number of members.
        """
        places = {slot.name: slot.span for slot in perturbation.layout.slots}
        self._dense = [(slot.span, places[name]) for name, slot in perturbation.row_layout.dense.items()]
        self._count = count

    def __len__(self) -> int:
        return self._count

    def write(self, centre_P: Tensor, members: NDArray[np.int64], out_bQ: Tensor) -> None:
        """Writes the rows of some members, which are all equal.

        Args:
            centre_P: float32, (P,), on the device of `out_bQ`.
            members: Which members, (b,).
            out_bQ: float32, (b, Q).
        """
        out_bQ.zero_()
        for span, place in self._dense:
            out_bQ[:, span] = centre_P[place]
