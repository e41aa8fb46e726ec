"""Sums that equal NumPy's, and so Gymnasium's, to the last bit."""

import numpy as np
import torch
from torch import Tensor


def numpy_sum(x: Tensor) -> Tensor:
    """Sums over the last axis.

    On the CPU NumPy does it: with each addition rounded to the tensor's type, in an order that depends on the number of
    terms alone. torch has another order, and another one for the last rows of a batch.

    Args:
        x: (..., n)

    Returns:
        (...)
    """
    if x.device.type == "cpu":
        return torch.from_numpy(np.add.reduce(x.contiguous().numpy(), axis=-1))
    return x.sum(-1)
