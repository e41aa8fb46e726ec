"""Memory for the rows of members, each of which begins on a 64-byte boundary."""

import numpy as np
import torch
from torch import Tensor

ALIGNMENT = 16  # floats in 64 bytes
LARGE_PAGES = 2**20  # floats in 4 MiB; untouched pages take no memory


def aligned_rows(rows: int, size: int, device: torch.device) -> Tensor:
    """Returns zeros, (rows, size) float32. Rows begin on 64-byte boundaries, so a product has the same bits in each.

    Args:
        rows: Number of rows.
        size: Numbers in a row.
        device: The device.
    """
    stride = -(-size // ALIGNMENT) * ALIGNMENT
    with torch.inference_mode(False):  # it is written to inside and outside inference mode
        if device.type != "cpu":
            return torch.zeros(rows, stride, device=device)[:, :size]
        # NumPy asks for large pages from 4 MiB on, which are a tenth faster to read; torch does not. It does not align.
        raw = np.zeros(max(rows * stride, LARGE_PAGES) + ALIGNMENT, np.float32)
        start = -(raw.ctypes.data // 4) % ALIGNMENT
        return torch.from_numpy(raw)[start : start + rows * stride].view(rows, stride)[:, :size]
