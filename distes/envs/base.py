"""The base class of batched simulators: Gymnasium vector environments on torch tensors.

Axes: R rows, one environment each, O observation, A action.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from torch import Tensor

from distes.errors import ConfigurationError


class BatchedEnv(VectorEnv[Tensor, Tensor, Tensor], ABC):
    """R environments of one kind that step together.

    A row whose episode has ended is not reset automatically (`AutoresetMode.DISABLED`): the caller resets it with a
    mask, ignores it, or drops it with `narrow`. A row depends on its own seed, state and actions alone, never on the
    other rows.

    Attributes:
        always_finite: Whether observations of running episodes are finite as long as actions are, so that no check is
            needed.
        fixed_num_envs: Whether it always steps all its rows, so that `narrow` is never called. An evaluation then
            starts other episodes, by `reset_mask`, in rows whose episodes have ended.
        usual_num_envs: The rows that are worth stepping at once where there are more episodes; None for any number on
            a CPU, and for 16,384 on a GPU.
        look_every: Steps between two looks at which rows still run, for which a GPU is waited for; None for 1 on a CPU
            and 16 on a GPU. Name 1 where a step takes milliseconds.
    """

    always_finite = False
    fixed_num_envs = False
    usual_num_envs: int | None = None
    look_every: int | None = None
    metadata = {"autoreset_mode": AutoresetMode.DISABLED}  # noqa: RUF012, Gymnasium declares it so

    def __init__(
        self,
        num_envs: int,
        single_observation_space: spaces.Space[Any],
        single_action_space: spaces.Space[Any],
        device: str | torch.device = "cpu",
    ) -> None:
        """Sets the attributes of Gymnasium's interface.

        Args:
            num_envs: R, before any row is dropped.
            single_observation_space: The space of one row's observations.
            single_action_space: The space of one row's actions.
            device: The device of states and observations.
        """
        if num_envs < 1:
            raise ConfigurationError(f"num_envs is {num_envs}: a batched environment has at least one row.")
        self.full_num_envs, self.device = num_envs, torch.device(device)
        self.single_observation_space, self.single_action_space = single_observation_space, single_action_space
        self._set_width(num_envs)

    def _set_width(self, rows: int) -> None:
        self.num_envs = rows

    # Made on demand: to make a space of many rows takes longer than to step all rows.
    @property
    def observation_space(self) -> spaces.Space[Any]:  # type: ignore[override]
        """The space of all rows' observations."""
        return batch_space(self.single_observation_space, self.num_envs)

    @property
    def action_space(self) -> spaces.Space[Any]:  # type: ignore[override]
        """The space of all rows' actions."""
        return batch_space(self.single_action_space, self.num_envs)

    @abstractmethod
    def reset(
        self, *, seed: int | Sequence[int] | Tensor | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Tensor, dict[str, Any]]:
        """Starts episodes in all rows, dropped ones included, or in the rows that a mask selects.

        Args:
            seed: One 63-bit number per row, or one number s for s, s + 1, ...; None for seeds of its own. With a mask,
                only the numbers of the masked rows count.
            options: `{"reset_mask": bool (R,)}` resets only those rows, as Gymnasium's own vector environments do.

        Returns:
            The observations of all rows, (R, *O), and an empty dictionary.
        """

    @abstractmethod
    def step(self, actions: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Any]]:
        """Steps all rows; the numbers of a row whose episode has ended mean nothing.

        Args:
            actions: (R, A) of a float type, or (R,) integers; on this environment's device.

        Returns:
            Observations (R, *O), float32 or float64; rewards (R,), float64; terminated (R,) and truncated (R,), bool;
            and a dictionary of tensors (R, ...). The tensors are the environment's own: the next call may overwrite
            them, and the caller must not write to them.
        """

    @abstractmethod
    def narrow(self, rows: Tensor) -> None:
        """Keeps only these rows, in this order, until the next reset without a mask; `num_envs` becomes their number.

        Args:
            rows: int64, (R',), distinct numbers below R.
        """

    def check(self) -> None:
        """Raises where the steps since the last call cannot be trusted; it may wait for the device.

        Raises:
            ConfigurationError: They cannot be trusted; the message names the setting that helps.
        """
        return

    def _keys(self, seed: int | Sequence[int] | Tensor, rows: int) -> Tensor:
        """Returns the seed that `reset` was given as one number per row, int64, (R,), on this environment's device."""
        if isinstance(seed, Tensor):
            if seed.shape != (rows,) or seed.dtype != torch.int64:
                raise ConfigurationError(
                    f"The seeds are a tensor of shape {tuple(seed.shape)} and type {seed.dtype}: {rows} rows take one "
                    f"of shape ({rows},) and type torch.int64."
                )
            return seed.to(self.device)
        if isinstance(seed, int):
            seed = range(seed, seed + rows)
        if len(seed) != rows:
            raise ConfigurationError(f"There are {len(seed)} seeds for {rows} rows: give one per row, or a single one.")
        low, high = sorted((seed[0], seed[-1])) if isinstance(seed, range) else (min(seed), max(seed))
        if not (low >= 0 and high < 2**63):
            raise ConfigurationError(f"The seeds go from {low} to {high}: give some from 0 to 2**63 - 1.")
        if isinstance(seed, range) and seed.step == 1:
            return seed.start + torch.arange(rows, device=self.device)
        return torch.tensor(seed, dtype=torch.int64, device=self.device)

    def _mask(self, options: dict[str, Any] | None) -> Tensor | None:
        """Returns the mask of the rows to reset, bool, (R,), on this environment's device; None for all rows."""
        mask = (options or {}).get("reset_mask")
        if mask is None:
            return None
        mask_R = torch.as_tensor(mask, device=self.device)
        if mask_R.shape != (self.num_envs,) or mask_R.dtype != torch.bool:
            raise ConfigurationError(
                f"reset_mask has shape {tuple(mask_R.shape)} and type {mask_R.dtype}: {self.num_envs} rows take one of "
                f"shape ({self.num_envs},) and type torch.bool."
            )
        return mask_R
