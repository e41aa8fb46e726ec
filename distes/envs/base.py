"""What our batched simulators are: vector environments of Gymnasium whose numbers are torch tensors.

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


class BatchedEnv(VectorEnv[Tensor, Tensor, Tensor], ABC):
    """R environments of one kind that step together.

    Rows whose episode has ended are not reset by themselves (`AutoresetMode.DISABLED`): whoever steps them either
    resets them with a mask, lets them run on unheeded, or drops them with `narrow`. What a row does depends on its own
    seed, state and actions alone, never on the other rows.
    """

    metadata = {"autoreset_mode": AutoresetMode.DISABLED}  # noqa: RUF012, Gymnasium declares it so

    def __init__(
        self,
        num_envs: int,
        single_observation_space: spaces.Space[Any],
        single_action_space: spaces.Space[Any],
        device: str | torch.device = "cpu",
    ) -> None:
        """Sets what Gymnasium's interface wants.

        Args:
            num_envs: R, before anything was narrowed.
            single_observation_space: Of one row.
            single_action_space: Of one row.
            device: Where states and observations live.
        """
        self.full_num_envs, self.device = num_envs, torch.device(device)
        self.single_observation_space, self.single_action_space = single_observation_space, single_action_space
        self._set_width(num_envs)

    def _set_width(self, rows: int) -> None:
        self.num_envs = rows
        self.observation_space = batch_space(self.single_observation_space, rows)
        self.action_space = batch_space(self.single_action_space, rows)

    def reset(
        self, *, seed: int | Sequence[int] | Tensor | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Tensor, dict[str, Any]]:
        """Starts episodes, in all rows (narrowed ones come back), or in those that a mask names.

        Args:
            seed: One 63-bit number per row, or a single one s for s, s + 1, ...; None takes numbers of its own. With a
                mask, only the masked rows' numbers count.
            options: `{"reset_mask": bool (R,)}` resets only those rows, as Gymnasium's own vector environments do.

        Returns:
            The observations of all rows, (R, *O), and an empty dictionary.
        """
        raise NotImplementedError

    @abstractmethod
    def step(self, actions: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Any]]:
        """Steps all rows; of a row whose episode has ended the numbers mean nothing.

        Args:
            actions: (R, A) of a float type, or (R,) integers; on this environment's device.

        Returns:
            Observations (R, *O), float32 or float64; rewards (R,), float64; terminated (R,) and truncated (R,), bool;
            and a dictionary of tensors (R,). The tensors may be overwritten by the next call.
        """

    @abstractmethod
    def narrow(self, rows: Tensor) -> None:
        """Keeps only these rows, in this order, until the next reset without a mask; `num_envs` becomes their number.

        Args:
            rows: int64, (R',), different numbers below R.
        """
