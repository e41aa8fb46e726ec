"""Weighted sums of slices of the noise table, at the speed at which memory can be read: ES's gradient estimate.

A slice is read where it lies: nothing of the size of all slices is ever formed. Axes: N slices, L numbers of a slice.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distes.noise import sum_cpu, sum_gpu
from distes.noise.table import NoiseTable


def weighted_sum(
    noise: NoiseTable,
    starts_N: NDArray[np.int64],
    weights_N: NDArray[np.floating],
    out: Tensor,
    *,
    squared: bool = False,
) -> None:
    """Writes sum_i weights[i] * table[starts[i] + j] into out[j]; or, squared, with that number's square.

    The additions of a coordinate come in the order of i, each after its own rounded product (and that after its own
    rounded square): on a CPU and on a CUDA device with Triton the bits are those of a plain float32 loop.

    Args:
        noise: The table. Its copy on `out`'s device is read, and made where there is none yet.
        starts_N: Where the slices begin; from 0 to the table's size less L.
        weights_N: As many; taken as float32.
        out: (L,), float32, contiguous. The sum is formed on its device.
        squared: Whether to sum the squares of the table's numbers.

    Raises:
        ValueError: If a slice leaves the table, the lengths of `starts_N` and `weights_N` differ, or `out` is of
            another type.
    """
    if len(starts_N) != len(weights_N):
        raise ValueError(f"{len(starts_N)} slices and {len(weights_N)} weights: one is shorter than the other")
    if out.dtype != torch.float32 or out.dim() != 1 or not out.is_contiguous():
        raise ValueError(f"the sum must be one contiguous row of float32; got {out.dtype}, {tuple(out.shape)}")
    out.zero_()
    if len(starts_N) == 0 or len(out) == 0:
        return
    last = noise.size - len(out)
    if starts_N.min() < 0 or starts_N.max() > last:
        raise ValueError(f"slices of {len(out)} numbers begin at 0 to {last}; got {starts_N.min()} to {starts_N.max()}")
    starts_N = np.ascontiguousarray(starts_N, np.int64)
    weights_N = np.ascontiguousarray(weights_N, np.float32)
    if out.device.type == "cpu":
        sum_cpu.add_slices(noise.numbers, starts_N, weights_N, out.numpy(), squared)
    else:
        on_device = torch.tensor(starts_N).to(out.device), torch.tensor(weights_N).to(out.device)
        sum_gpu.add_slices(noise.tensor(out.device), *on_device, out, squared)
