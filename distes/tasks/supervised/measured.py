"""What members answer to rows of labelled data, measured block by block.

Axes: B members evaluated together, b as many or 1, K rows, O observation, A numbers of an answer.
"""

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distes.members.members import Members
from distes.tasks.base import Request, Stopped
from distes.tasks.supervised.data_parts import DataParts
from distes.tasks.supervised.objectives import Objective

GPU_ROWS = 2**18  # of all members
BLOCK = 256  # rows per member that are run at once; fixed, since the last bits of a product depend on its size


def measured(
    members: Members, parts: DataParts, rows_bK: Tensor, request: Request, objectives: Iterable[Objective]
) -> dict[Objective, NDArray[np.float64]]:
    """Returns the mean of each objective over a member's rows, (B,).

    Args:
        members: B members, all of them selected.
        parts: The data.
        rows_bK: Numbers of the rows that each member is run on; (1, K) where all see the same.
        request: Says which part of the data is meant, and when to stop.
        objectives: What is measured.

    Raises:
        Stopped: `request.stop` returned True.
    """
    count = len(members)
    sums = {objective: torch.zeros(count, dtype=torch.float64, device=members.device) for objective in objectives}
    with torch.inference_mode():
        for block_bK in rows_bK.split(_block(count, members.device), dim=1):
            if request.stop():
                raise Stopped
            x_bKO, y_bK = parts.batch(request.purpose, block_bK)
            answers_BKA = _answers(members, x_bKO)
            y_BK = y_bK.expand(count, *y_bK.shape[1:])
            for objective, sum_B in sums.items():
                sum_B += objective(answers_BKA, y_BK).sum(1, dtype=torch.float64)
    return {objective: (sum_B / rows_bK.shape[1]).cpu().numpy() for objective, sum_B in sums.items()}


def _block(count: int, device: torch.device) -> int:
    """Rows per member that are run at once; on a GPU fewer for many members, so that their answers fit into memory."""
    return BLOCK if device.type == "cpu" else max(8, min(BLOCK, GPU_ROWS // count))


def _answers(members: Members, x_bKO: Tensor) -> Tensor:
    """The members' answers, (B, K, A), to rows of their own, or to rows (1, K, ...) that all of them see."""
    count = len(members)
    state = members.initial_state()
    if state is None and len(x_bKO) == 1:
        return members.shared(x_bKO[0])
    x_BKO = x_bKO.expand(count, *x_bKO.shape[1:])
    return members(x_BKO) if state is None else members.step(x_BKO, state.expand(count, x_BKO.shape[1], -1))[0]
