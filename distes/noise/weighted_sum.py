"""Weighted sums of slices of the noise table, at memory bandwidth; they are the gradient estimate of ES.

A sum adds the numbers themselves, their squares, or bits that say whether a number exceeds its threshold. Slices are
read in place; no array of the size of all slices is formed.

Axes: N slices, L numbers per slice.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distes.noise import sum_cpu, sum_gpu
from distes.noise.table import NoiseTable
from distes.noise.to_device import to_device


def weighted_sum(
    noise: NoiseTable,
    starts_N: NDArray[np.int64],
    weights_N: NDArray[np.floating],
    out: Tensor,
    *,
    squared: bool = False,
) -> None:
    """Writes sum_i weights[i] * table[starts[i] + j] to out[j], or the weighted sum of squares.

    The terms of a coordinate are added in the order of i. Each square, product and sum is rounded separately, so on a
    CPU, and on a CUDA device with Triton, the bits are those of a plain float32 loop.

    Args:
        noise: The table. Its copy on the device of `out` is read, and made at first use.
        starts_N: Index of each slice's first number, (N,), from 0 to the table's size less L.
        weights_N: The weights, (N,); converted to float32.
        out: The sum, (L,) float32, contiguous, which is overwritten. The sum is computed on its device.
        squared: Whether to sum the squares of the table's numbers.

    Raises:
        ValueError: A slice exceeds the table, the lengths of `starts_N` and `weights_N` differ, or `out` has another
            dtype, more than one axis, or gaps.
    """
    starts_N, weights_N = _checked(noise, starts_N, weights_N, out)
    if not len(starts_N):
        return
    if out.device.type == "cpu":
        sum_cpu.add_slices(noise.numbers, starts_N, weights_N, out.numpy(), squared)
    else:
        on_device = to_device(starts_N, out.device), to_device(weights_N, out.device)
        sum_gpu.add_slices(noise.tensor(out.device), *on_device, out, squared)


def weighted_bits(
    noise: NoiseTable,
    starts_N: NDArray[np.int64],
    weights_N: NDArray[np.floating],
    thresholds_L: NDArray[np.float32],
    out: Tensor,
) -> None:
    """Writes the sum of those weights[i] for which table[starts[i] + j] > thresholds[j] to out[j].

    The terms of a coordinate are added in the order of i, each sum rounded, so on all devices that have the kernel the
    bits are those of a plain float32 loop.

    Args:
        noise: As in `weighted_sum`.
        starts_N: As in `weighted_sum`.
        weights_N: As in `weighted_sum`.
        thresholds_L: The threshold of each coordinate, (L,) float32.
        out: As in `weighted_sum`.

    Raises:
        ValueError: As in `weighted_sum`; or the thresholds have another shape or dtype.
    """
    if thresholds_L.shape != tuple(out.shape) or thresholds_L.dtype != np.float32:
        raise ValueError(
            f"thresholds must be float32, {tuple(out.shape)}; got {thresholds_L.dtype}, {thresholds_L.shape}"
        )
    starts_N, weights_N = _checked(noise, starts_N, weights_N, out)
    if not len(starts_N):
        return
    if out.device.type == "cpu":
        thresholds_L = np.ascontiguousarray(thresholds_L)
        sum_cpu.add_bits(noise.numbers, starts_N, weights_N, thresholds_L, out.numpy())
    else:
        starts, weights, thresholds = (to_device(one, out.device) for one in (starts_N, weights_N, thresholds_L))
        sum_gpu.add_bits(noise.tensor(out.device), starts, weights, thresholds, out)


def _checked(
    noise: NoiseTable, starts_N: NDArray[np.int64], weights_N: NDArray[np.floating], out: Tensor
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Checks the arguments, sets the sum to 0, and returns slices and weights as kernels take them.

    No slices are returned where there is nothing to add.
    """
    if len(starts_N) != len(weights_N):
        raise ValueError(f"{len(starts_N)} slices and {len(weights_N)} weights: one is shorter than the other")
    if out.dtype != torch.float32 or out.dim() != 1 or not out.is_contiguous():
        raise ValueError(f"the sum must be one contiguous row of float32; got {out.dtype}, {tuple(out.shape)}")
    out.zero_()
    if len(starts_N) == 0 or len(out) == 0:
        return np.empty(0, np.int64), np.empty(0, np.float32)
    last = noise.size - len(out)
    if starts_N.min() < 0 or starts_N.max() > last:
        raise ValueError(f"slices of {len(out)} numbers begin at 0 to {last}; got {starts_N.min()} to {starts_N.max()}")
    return np.ascontiguousarray(starts_N, np.int64), np.ascontiguousarray(weights_N, np.float32)
