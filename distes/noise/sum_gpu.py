"""The sum of slices on a GPU: by distes's Triton kernel on CUDA devices, by torch on others.

Axes: N slices, L numbers per slice.
"""

import importlib
import warnings
from functools import cache
from typing import Any

import torch
from torch import Tensor

from distes.errors import DistesWarning
from distes.errors.cuda import failure


def add_slices(table: Tensor, starts_N: Tensor, weights_N: Tensor, out: Tensor, squared: bool) -> None:
    """Adds weights[i] * table[starts[i] + j], or the weighted square, to out[j], in the order of i.

    All tensors are on one device.

    Args:
        table: The numbers, float32 or float16.
        starts_N: Index of each slice's first number, (N,) int64.
        weights_N: The weights, (N,) float32.
        out: The sum, (L,) float32, initially zeros.
        squared: Whether to sum the squares of the table's numbers.
    """
    kernel = _triton_kernel(out.device) if out.device.type == "cuda" else None
    add = kernel.add_slices if kernel else add_in_torch
    add(table, starts_N, weights_N, out, squared)


def add_in_torch(table: Tensor, starts_N: Tensor, weights_N: Tensor, out: Tensor, squared: bool) -> None:
    """Adds with one call of torch per slice; the device decides whether product and sum are fused.

    The arguments are those of `add_slices`.
    """
    for start, weight in zip(starts_N.tolist(), weights_N.tolist(), strict=True):
        numbers = table[start : start + len(out)]
        out.add_(numbers.float().square() if squared else numbers, alpha=weight)


def add_bits(table: Tensor, starts_N: Tensor, weights_N: Tensor, thresholds: Tensor, out: Tensor) -> None:
    """Adds weights[i] to out[j] where table[starts[i] + j] > thresholds[j], in the order of i.

    `thresholds` is (L,) float32; the other arguments are those of `add_slices`.
    """
    kernel = _triton_kernel(out.device) if out.device.type == "cuda" else None
    add = kernel.add_bits if kernel else add_bits_in_torch
    add(table, starts_N, weights_N, thresholds, out)


def add_bits_in_torch(table: Tensor, starts_N: Tensor, weights_N: Tensor, thresholds: Tensor, out: Tensor) -> None:
    """Adds with two calls of torch per slice; the arguments are those of `add_bits`."""
    for start, weight in zip(starts_N.tolist(), weights_N.tolist(), strict=True):
        out.add_(table[start : start + len(out)].float() > thresholds, alpha=weight)


@cache
def _triton_kernel(device: torch.device) -> Any:
    """Returns the module of the Triton kernel, or None with a warning if Triton does not work.

    Torch's CUDA builds for Linux include Triton. The kernel is tried once per device: Triton compiles at the first
    launch, and needs a C compiler, an assembler that knows the GPU, and a writable folder.
    """
    try:
        kernel = importlib.import_module("distes.noise.triton_kernel")
        one, start, out = torch.ones(1, device=device), torch.zeros(1, dtype=torch.int64, device=device), torch.zeros(1)
        out = out.to(device)
        kernel.add_slices(one, start, one, out, False)
        if out.item() != 1:
            raise RuntimeError(f"1 * 1 is {out.item()}")
    except Exception as error:
        if failure(error):  # the GPU has failed, perhaps long before this call
            raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        warnings.warn(
            f"Triton does not work here ({reason}), so gradients are summed on the GPU slice by slice, which is "
            "several times slower, and whose last bits may differ; install the triton that belongs to your torch, and "
            "a C compiler.",
            DistesWarning,
            stacklevel=2,
        )
        return None
    return kernel
