"""MountainCarContinuous-v0, batched: drive a car out of a valley with an engine too weak for the slope.

The task of Moore 1990 with a continuous force; the road's height is sin(3 place).
"""

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from distes.envs.classic import ColumnEnv, bounds

LEFT_END, RIGHT_END, GOAL = -1.2, 0.6, 0.45
FASTEST = 0.07
POWER = 0.0015
GRAVITY = 0.0025
STEEP = 2.0**20  # see `step`


class MountainCarContinuous(ColumnEnv):
    """R cars. The state is kept in single precision, as Gymnasium's environment keeps it."""

    # Place, steps of the episode; speed, and that of the clock, one per step.
    columns, state_columns, clock_column = 4, (0, 2), 1

    def __init__(
        self,
        num_envs: int,
        max_episode_steps: int | None = None,
        device: str | torch.device = "cpu",
        *,
        goal_velocity: float = 0,
    ) -> None:
        """Makes R cars.

        Args:
            num_envs: R.
            max_episode_steps: Steps after which an episode is truncated; None for never.
            device: The device of all tensors.
            goal_velocity: The least speed, per step, at which the goal counts as reached.
        """
        self.goal_velocity = goal_velocity
        low = np.array([LEFT_END, -FASTEST], dtype=np.float32)
        high = np.array([RIGHT_END, FASTEST], dtype=np.float32)
        box = spaces.Box(low, high, dtype=np.float32)
        super().__init__(
            num_envs, box, spaces.Box(-1.0, 1.0, (1,), np.float32), max_episode_steps, device, torch.float32
        )

    def _bind(self) -> None:
        block_CR, rows = self.block_CR, self.num_envs
        self._place_2R, self._speed_2R, self._compared_3R = block_CR[:2], block_CR[2:], block_CR[:3]
        self._place_R, _, self._speed_R, rate_R = block_CR
        self._seen_R2 = block_CR[0::2].t()
        rate_R.fill_(1)
        self._force_R1 = self._tensor("force", (rows, 1))
        self._force_R = self._force_R1[:, 0]
        self._slope_R = self._tensor("slope", (rows,))
        self._wall_R = self._filled("wall", [LEFT_END])[0].mul_(STEEP)
        self._needed_3R = self._filled("needed", [GOAL, self.limit, self.goal_velocity])
        self._there_3R = self._tensor("there", (3, rows), torch.bool)
        self._at_goal_R, self.truncated_R, self._fast_R = self._there_3R
        self._cosine_R = self._tensor("cosine", (rows,), torch.float64)
        self._action_R1 = self._tensor("action", (rows, 1), torch.float64)
        self._action_R = self._action_R1[:, 0]
        self._nothing, self._prize = torch.tensor([0, 100], dtype=torch.float64).to(self.device)

    def _start(self, options: dict[str, Any], mask_R: Tensor | None) -> Tensor:
        low, high = bounds(options, -0.6, -0.4)
        place_R = low + (high - low) * self._uniform(1, mask_R)[:, 0]
        return torch.stack([place_R, torch.zeros_like(place_R)], dim=1)

    def _observe(self) -> Tensor:
        return self.observations_RO.copy_(self._seen_R2)

    def advance(self, actions: Tensor) -> None:
        """Drives for one step with these forces, (R, 1), clipped to [-1, 1]; see the base class.

        The reward is -force^2 / 10 with the force as it was given, and 100 more at the goal.
        """
        place_R, speed_R, force_R, slope_R = self._place_R, self._speed_R, self._force_R, self._slope_R
        torch.clamp(actions, -1, 1, out=self._force_R1)
        force_R.mul_(POWER)
        torch.mul(place_R, 3, out=slope_R)
        self._cosine_R.copy_(slope_R).cos_().mul_(GRAVITY)  # the only term that Gymnasium computes in double precision
        slope_R.copy_(self._cosine_R)
        force_R.sub_(slope_R)
        speed_R.add_(force_R)
        speed_R.clamp_(-FASTEST, FASTEST)
        self._place_2R.add_(self._speed_2R)
        place_R.clamp_(LEFT_END, RIGHT_END)
        # A car at the left end moves no further: the speed is at least STEEP * (LEFT_END - place), which is
        # zero there (exactly: STEEP is a power of two), and lower than any speed one float to the right.
        torch.sub(self._wall_R, place_R, alpha=STEEP, out=slope_R)
        torch.maximum(speed_R, slope_R, out=speed_R)
        torch.ge(self._compared_3R, self._needed_3R, out=self._there_3R)
        torch.logical_and(self._at_goal_R, self._fast_R, out=self.terminated_R)
        self._action_R1.copy_(actions)
        torch.where(self.terminated_R, self._prize, self._nothing, out=self.rewards_R)
        self.rewards_R.addcmul_(self._action_R, self._action_R, value=-0.1)
        self._observe()
