"""The sum of slices on a GPU: by our Triton kernel on CUDA devices, by torch on others."""

import importlib
import warnings
from functools import cache
from typing import Any

from torch import Tensor

from distes.errors import DistesWarning


def add_slices(table: Tensor, starts_N: Tensor, weights_N: Tensor, out: Tensor, squared: bool) -> None:
    """Adds weights[i] * table[starts[i] + j], or its square, to out[j], which begins as zeros, in the order of i.

    All on one device.
    """
    kernel = _triton_kernel() if out.device.type == "cuda" else None
    add = kernel.add_slices if kernel else add_in_torch
    add(table, starts_N, weights_N, out, squared)


def add_in_torch(table: Tensor, starts_N: Tensor, weights_N: Tensor, out: Tensor, squared: bool) -> None:
    """A call of torch per slice; whether it fuses product and sum is the device's choice."""
    for start, weight in zip(starts_N.tolist(), weights_N.tolist(), strict=True):
        numbers = table[start : start + len(out)]
        out.add_(numbers.float().square() if squared else numbers, alpha=weight)


@cache
def _triton_kernel() -> Any:
    """The module, or None where Triton is missing. Torch's CUDA builds for Linux bring it."""
    try:
        return importlib.import_module("distes.noise_sum.triton_kernel")
    except ImportError as error:
        warnings.warn(
            f"Triton cannot be imported ({error}), so gradients are summed on the GPU slice by slice, which is several "
            "times slower; install the triton that belongs to your torch.",
            DistesWarning,
            stacklevel=2,
        )
        return None
