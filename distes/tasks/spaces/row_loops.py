"""What a batched step does to each row, as one compiled loop on a CPU in place of a torch call for each operation.

The operations are exact, so the results are the same. Axes: R rows, A action numbers.
"""

import importlib
from typing import Any

import torch
from torch import Tensor

WORTH_COMPILING = 10_000  # calls, about a second's, before Numba is loaded, which takes as long
MANY = 2**15  # numbers from which on torch's own kernels are no slower


class Kernels:
    """The compiled loops, once a process has made enough calls to be worth loading Numba."""

    def __init__(self) -> None:
        self._calls = 0
        self._module: Any = None

    def loaded(self) -> Any:
        """Returns the module of loops, or None."""
        if self._module is None:
            self._calls += 1
            if self._calls >= WORTH_COMPILING:
                # Imported here, since Numba is slow to import.
                self._module = importlib.import_module("distes.tasks.spaces.row_kernels")
        return self._module


KERNELS = Kernels()


def largest(numbers_RA: Tensor, start: int, out: Tensor) -> None:
    """Writes the place of the largest number of each row, plus `start`.

    Args:
        numbers_RA: (R, A), without NaN.
        start: The first action.
        out: (R,), int64.
    """
    small = numbers_RA.device.type == "cpu" and numbers_RA.numel() < MANY
    kernels = KERNELS.loaded() if small and numbers_RA.is_contiguous() else None
    if kernels is not None:
        kernels.largest(numbers_RA.numpy(), start, out.numpy())
        return
    torch.argmax(numbers_RA, 1, out=out)
    if start:
        out.add_(start)
