"""The actions of rows in training: a policy's numbers, with what draws and what masks actions, and Gaussian noise.

Two classes: for environments that are stepped one by one, in NumPy, and for the rows of a batched simulator, in torch.
Axes: R rows (one episode each), A action numbers.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distes.population import Floats
from distes.tasks.spaces.action_mask import mask_of, masked, masks_of
from distes.tasks.spaces.action_noise import ArrayNoise, TensorNoise
from distes.tasks.spaces.actions import Action


class NoActionError(ValueError):
    """A mask allows no action; the message is part of a sentence.

    Attributes:
        row: The row.
    """

    def __init__(self, key: str | None, row: int) -> None:
        super().__init__(f"its action mask {key!r} allows no action")
        self.row = row


class ArrayActions:
    """Actions of environments that are stepped one by one."""

    def __init__(self, action: Action, deviation: float, rows: int) -> None:
        """Allocates what every step uses.

        Args:
            action: Reads numbers.
            deviation: The standard deviation of Gaussian noise.
            rows: R, at most.
        """
        self._action, self._deviation = action, deviation
        self._noise = ArrayNoise(rows, action.noise_size, deviation)
        self._draws: ArrayNoise | None = None
        if action.law is not None and action.sampling != "never":
            self._draws = ArrayNoise(rows, action.size, law=action.law)
        self._mask_RA = np.ones((rows, action.size), np.bool_)

    def prepare(self, *, training: bool) -> None:
        """Begins an evaluation, in training or of the centre."""
        self._noisy = training and self._deviation > 0 and self._action.noisy
        self._samples = self._draws is not None and self._action.samples(training=training)

    def start(self, row: int, seed: int) -> None:
        """Starts an episode in a row."""
        if self._noisy:
            self._noise.start(row, seed)
        if self._samples and self._draws is not None:
            self._draws.start(row, seed)

    def swap(self, source: int, target: int) -> None:
        """Moves row `source` into the place of row `target`, whose episode is over."""
        self._noise.swap(source, target)
        if self._draws is not None:
            self._draws.swap(source, target)
        self._mask_RA[target] = self._mask_RA[source]

    def take_mask(self, row: int, info: Mapping[str, Any]) -> None:
        """Reads which actions a row's next step allows.

        Raises:
            ValueError: The info has no such mask; the message is part of a sentence.
        """
        if self._action.mask_key is not None:
            self._mask_RA[row] = mask_of(info, self._action.mask_key, self._action.size)

    def read(self, numbers_RA: Floats, age_R: NDArray[np.int64]) -> Any:
        """Returns the actions of the first R rows.

        Args:
            numbers_RA: The policy's numbers.
            age_R: The steps that each row's episode has run.

        Raises:
            NoActionError: A mask allows none.
        """
        if self._samples and self._draws is not None:
            numbers_RA = numbers_RA + self._draws.at(age_R)
        if self._action.mask_key is not None:
            mask_RA = self._mask_RA[: len(numbers_RA)]
            for row in np.flatnonzero(~mask_RA.any(1)).tolist():
                raise NoActionError(self._action.mask_key, row)
            numbers_RA = masked(numbers_RA, mask_RA)
        return self._action.read_all(numbers_RA, self._noise.at(age_R) if self._noisy else None)


class TensorActions:
    """Actions of a batched simulator, on the policy's device."""

    def __init__(self, action: Action, deviation: float) -> None:
        """Allocates nothing yet.

        Args:
            action: Reads numbers.
            deviation: The standard deviation of Gaussian noise.
        """
        self._action, self._deviation = action, deviation

    def start(self, seeds_R: Tensor, *, training: bool, together: bool = True) -> None:
        """Starts an episode in each row.

        Args:
            seeds_R: The episodes' seeds, int64, on the policy's device.
            training: Whether members are evaluated, and not the centre.
            together: Whether no row starts another episode later.
        """
        self._noise: TensorNoise | None = None
        if training and self._deviation > 0 and self._action.noisy:
            self._noise = TensorNoise(seeds_R, self._action.noise_size, self._deviation, together=together)
        self._draws: TensorNoise | None = None
        if self._action.law is not None and self._action.samples(training=training):
            self._draws = TensorNoise(seeds_R, self._action.size, 1.0, self._action.law, together=together)
        self._mask_RA: Tensor | None = None  # which actions the next step allows
        self._device = seeds_R.device

    def renew(self, new_R: Tensor, seeds_R: Tensor) -> None:
        """Starts other episodes in some rows, a mask, by the seeds of all rows."""
        for noise in (self._noise, self._draws):
            if noise is not None:
                noise.renew(new_R, seeds_R)

    def keep(self, rows: Tensor) -> None:
        """Keeps only these rows, int64, in this order."""
        for noise in (self._noise, self._draws):
            if noise is not None:
                noise.keep(rows)
        if self._mask_RA is not None:
            self._mask_RA = self._mask_RA[rows]

    def take_masks(self, info: Mapping[str, Any], running_R: Tensor) -> None:
        """Reads which actions the next step allows, unless no row runs.

        Raises:
            ValueError: The info has no such masks; the message is part of a sentence.
        """
        if (key := self._action.mask_key) is not None and bool(running_R.any()):
            self._mask_RA = masks_of(info, key, len(running_R), self._action.size, self._device)

    def read(self, numbers_RA: Tensor, step: int, age_R: Tensor, running_R: Tensor, out: Tensor) -> None:
        """Writes the actions of all rows.

        Args:
            numbers_RA: The policy's numbers.
            step: The step of the evaluation, from 0.
            age_R: The steps that each row's episode has run, int64.
            running_R: Which rows run.
            out: From `Action.empty`.

        Raises:
            NoActionError: A mask allows a running row none.
        """
        if self._draws is not None:
            numbers_RA = numbers_RA + self._draws.at(step, age_R)
        if self._mask_RA is not None:
            stuck_R = running_R & ~self._mask_RA.any(1).to(running_R.device)
            if bool(stuck_R.any()):
                raise NoActionError(self._action.mask_key, int(stuck_R.nonzero()[0]))
            numbers_RA = numbers_RA.masked_fill(~self._mask_RA, -torch.inf)
        noise_RA = None if self._noise is None else self._noise.at(step, age_R)
        self._action.read_batch(numbers_RA, out, noise_RA)
