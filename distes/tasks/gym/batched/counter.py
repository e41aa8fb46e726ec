"""Counts a batched step's rewards and ends in one compiled loop, where that is possible.

Axes: R rows.
"""

from typing import Any

import torch
from torch import Tensor

from distes.tasks.spaces.row_loops import KERNELS, MANY


class Counter:
    """Counts steps; keeps the arrays of the last step, since most tensors are the same in each."""

    def __init__(self) -> None:
        self._columns: tuple[Tensor, ...] = ()
        self._counted: list[Any] = []  # their arrays
        self._given: list[Tensor | None] = [None, None, None]
        self._arrays: list[Any] = [None, None, None]

    def count(self, counted: tuple[Tensor, ...], reward_R: Tensor, terminated_R: Tensor, truncated_R: Tensor) -> bool:
        """Adds rewards and steps of the rows that run, and notes which episodes ended.

        Args:
            counted: `running_R`, and `reward_R`, `return_R`, `steps_R` and `ended_R` of `Columns`, which are written.
            reward_R: Rewards; those of rows that do not run mean nothing.
            terminated_R: Where an episode terminated.
            truncated_R: Where the simulator truncated it.

        Returns:
            Whether it did; otherwise nothing is written: on a GPU, for many rows, or before a loop is worth compiling.
        """
        kernels = KERNELS.loaded()
        if kernels is None:
            return False
        if not self._columns or self._columns[0] is not counted[0]:
            if len(reward_R) >= MANY or counted[0].device.type != "cpu":
                return False
            self._columns, self._counted = counted, [tensor.numpy() for tensor in counted]
        for place, tensor in enumerate((reward_R, terminated_R, truncated_R)):
            if tensor is not self._given[place]:
                if tensor.dtype != (torch.bool if place else torch.float64) or tensor.device.type != "cpu":
                    return False
                self._given[place], self._arrays[place] = tensor, tensor.numpy()
        kernels.count(*self._arrays, *self._counted)
        return True
