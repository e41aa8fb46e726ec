"""How many rows go on when some are over, and which.

Axes: L lanes.
"""

import numpy as np
from numpy.typing import NDArray

STEPS = 8  # widths from one power of two to the next


def bucket(count: int) -> int:
    """Returns the smallest allowed width with room for `count`: a multiple of an eighth of a power of two.

    CUDA graphs and kernels are chosen by width. With few widths, graphs of earlier generations are used again, and at
    most an eighth of the rows is stepped for nothing.
    """
    step = max(1, 2 ** ((count - 1).bit_length() - 1) // STEPS) if count > 1 else 1
    return -(-count // step) * step


def kept(alive_L: NDArray[np.bool_], width: int) -> NDArray[np.int64]:
    """Returns the lanes to keep: the first `width`, in which running lanes from beyond replace lanes that are over.

    Args:
        alive_L: Which lanes run.
        width: At least as many as run.

    Returns:
        The lanes in their new order, (width,), int64.
    """
    order, beyond = np.arange(width), width + np.flatnonzero(alive_L[width:])
    order[np.flatnonzero(~alive_L[:width])[: len(beyond)]] = beyond
    return order
