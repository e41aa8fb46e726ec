"""The statistics by which the members of a chunk normalise: measured once per member, some members at a time.

Axes: B members, b members of a block, K observations of the reference batch, Q numbers of a member's row, S statistics
of a member.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distes.members.forward import Forward
from distes.noise.to_device import to_device
from distes.policies.virtual_batch_norm import layers_of, reference_of

# Numbers of one layer, or of rows, in a block: 16 MB, which stay in a processor's caches, or 1 GB.
AT_ONCE = {"cpu": 2**22, "cuda": 2**28}

Measure = Callable[[NDArray[np.int64]], Tensor]


class Statistics:
    """The statistics of B members on the reference batch, which depend on the members' parameters alone.

    Members are measured in blocks; the first block has the members 0 to `block` - 1. So a member always shares its
    block with the same members, in whatever order members are needed.

    Attributes:
        block: Members of a block.
    """

    def __init__(self, forward: Forward, members: int, row_size: int, device: torch.device) -> None:
        """Measures nothing yet.

        Args:
            forward: The population forward, with a reference batch.
            members: B.
            row_size: Q.
            device: The device of the statistics.
        """
        self.block = min(members, block_size(forward, row_size, device))
        self._measured_B = np.zeros(members, np.bool_)
        with torch.inference_mode(False):  # it is written to inside and outside inference mode
            self._rows_BS = torch.zeros(members, forward.statistics[-1].span.stop, device=device)

    def of(self, members: NDArray[np.int64], measure: Measure) -> Tensor:
        """Returns the statistics of some members, (R, S).

        Args:
            members: Which members, (R,); they may repeat.
            measure: Makes and measures members (b,), and returns their statistics, (b, S).
        """
        for first in np.unique(members[~self._measured_B[members]] // self.block).tolist():
            start = first * self.block
            some = np.arange(start, min(start + self.block, len(self._measured_B)))
            self._rows_BS[start : start + len(some)] = measure(some)
            self._measured_B[some] = True
        return self._rows_BS[to_device(members, self._rows_BS.device)]

    def missing(self, members: NDArray[np.int64]) -> bool:
        """Whether one of the members has not been measured yet."""
        return not self._measured_B[members].all()


def block_size(forward: Forward, row_size: int, device: torch.device) -> int:
    """Returns how many members are measured at a time.

    Args:
        forward: The population forward, with a reference batch.
        row_size: Numbers of a member's row.
        device: Where they run.
    """
    reference = reference_of(forward.module)
    assert reference is not None
    observations, *shape = reference.rows_KO.shape
    widest = max(math.prod(shape), *(layer.width for layer in layers_of(forward.module).values()))
    fits: int = AT_ONCE.get(device.type, AT_ONCE["cpu"]) // max(observations * widest, row_size)
    return max(1, fits)
