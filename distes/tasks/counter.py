"""Counts a batched step's rewards and ends in one compiled loop, where that is possible.

Axes: R rows.
"""

from typing import Any

import torch
from torch import Tensor

from distes.tasks.columns import Columns
from distes.tasks.row_loops import KERNELS, MANY


class Counter:
    """Counts steps in `Columns`; keeps the arrays of the last step, since simulators write to the same tensors."""

    def __init__(self) -> None:
        self._given: tuple[Tensor, ...] = ()
        self._arrays: list[Any] = []

    def count(self, columns: Columns, reward_R: Tensor, terminated_R: Tensor, truncated_R: Tensor) -> bool:
        """Adds rewards and steps of the rows that run, and notes which episodes ended.

        Args:
            columns: `reward_R`, `return_R`, `steps_R` and `ended_R` are written.
            reward_R: Rewards; those of rows that do not run mean nothing.
            terminated_R: Where an episode terminated.
            truncated_R: Where the simulator truncated it.

        Returns:
            Whether it did; otherwise nothing is written: on a GPU, for many rows, or before a loop is worth compiling.
        """
        given = (columns.running_R, reward_R, terminated_R, truncated_R)
        if len(self._given) != len(given) or any(a is not b for a, b in zip(given, self._given, strict=True)):
            flags = terminated_R.dtype == truncated_R.dtype == torch.bool and reward_R.dtype == torch.float64
            if len(reward_R) >= MANY or not flags or any(tensor.device.type != "cpu" for tensor in given):
                return False
            counted = (columns.reward_R, columns.return_R, columns.steps_R, columns.ended_R)
            self._given, self._arrays = given, [tensor.numpy() for tensor in (*given, *counted)]
        kernels = KERNELS.loaded()
        if kernels is None:
            return False
        kernels.count(*self._arrays)
        return True
