"""CartPole-v1, batched: keep a pole upright on a cart by pushing the cart left or right.

The equations of Barto, Sutton and Anderson 1983 with the corrections of Florian 2007 (`Correct equations for the
dynamics of the cart-pole system`), without friction. SI units.
"""

import math
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from distes.envs.classic import ColumnEnv, bounds

GRAVITY = 9.8
POLE_MASS = 0.1
TOTAL_MASS = 1.0 + POLE_MASS
HALF_LENGTH = 0.5
PUSH = 10.0
SECONDS = 0.02  # of one step
LEVER = POLE_MASS * HALF_LENGTH / TOTAL_MASS
FARTHEST = 2.4
STEEPEST = 12 * math.pi / 180


class CartPole(ColumnEnv):
    """R carts with poles."""

    # Place, speed, angle, angular speed; and the steps of the episode as a third place, whose speed is one per step.
    table: Tensor
    fused = "cartpole"
    columns, state_columns, clock_column = 6, (0, 1, 2, 3), 4

    def __init__(
        self,
        num_envs: int,
        max_episode_steps: int | None = None,
        device: str | torch.device = "cpu",
        *,
        sutton_barto_reward: bool = False,
    ) -> None:
        """Makes R carts.

        Args:
            num_envs: R.
            max_episode_steps: Steps after which an episode is truncated; None for never.
            device: The device of all tensors.
            sutton_barto_reward: Whether the reward is 0 per step and -1 for falling, instead of 1 per step.
        """
        self.sutton_barto_reward = sutton_barto_reward
        self.table = torch.tensor([-PUSH, PUSH], dtype=torch.float64, device=device) * (SECONDS / TOTAL_MASS)
        high = np.array([2 * FARTHEST, np.inf, 2 * STEEPEST, np.inf], dtype=np.float32)
        box = spaces.Box(-high, high, dtype=np.float32)
        super().__init__(num_envs, box, spaces.Discrete(2), max_episode_steps, device)

    def _bind(self) -> None:
        block_CR = self.block_CR
        self._place_3R, self._speed_3R = block_CR[0::2], block_CR[1::2]
        self._angle_R, self._turning_R = block_CR[2], block_CR[3]
        self._state_R4 = block_CR[:4].t()
        block_CR[5] = 1 / SECONDS
        self._change_3R = self._filled("change", [0, 0, 0])  # of the speeds, in a step
        self._push_R, self._turn_R, _ = self._change_3R
        self._sin_R, self._cos_R, self._a_R = self._tensor("scratch", (3, self.num_envs))
        self._inertia_R = self._filled("inertia", [-HALF_LENGTH * 4 / 3])[0]
        self._distance_3R = self._tensor("distance", (3, self.num_envs))
        self._limit_3R = self._filled("limit", [FARTHEST, STEEPEST, self.limit - 0.5])
        self._beyond_3R = self._tensor("beyond", (3, self.num_envs), torch.bool)
        self._far_R, self._steep_R, self.truncated_R = self._beyond_3R
        self.rewards_R.fill_(1)

    def _start(self, options: dict[str, Any], mask_R: Tensor | None) -> Tensor:
        low, high = bounds(options, -0.05, 0.05)
        return low + (high - low) * self._uniform(4, mask_R)

    def _observe(self) -> Tensor:
        return self.observations_RO.copy_(self._state_R4)

    def advance(self, actions: Tensor) -> None:
        """Pushes each cart to the left (0) or to the right (1) for one step; see the base class.

        With F the push, M the total mass, m and l the pole's mass and half its length, and
        f = (F + m l turning^2 sin) / M: the pole gains (g sin - f cos) / (l (4/3 - m cos^2 / M)) of angular speed per
        second, and the cart f - m l cos / M times that.
        """
        sin_R, cos_R, push_R, turn_R, a_R = self._sin_R, self._cos_R, self._push_R, self._turn_R, self._a_R
        torch.sin(self._angle_R, out=sin_R)
        torch.cos(self._angle_R, out=cos_R)
        torch.index_select(self.table, 0, actions, out=push_R)
        torch.mul(self._turning_R, sin_R, out=a_R)
        push_R.addcmul_(self._turning_R, a_R, value=SECONDS * LEVER)  # f, per step as all that is in `change`
        torch.mul(push_R, cos_R, out=a_R)
        a_R.sub_(sin_R, alpha=SECONDS * GRAVITY)
        torch.addcmul(self._inertia_R, cos_R, cos_R, value=HALF_LENGTH * POLE_MASS / TOTAL_MASS, out=turn_R)
        torch.div(a_R, turn_R, out=turn_R)  # numerator and denominator both with the other sign
        push_R.addcmul_(turn_R, cos_R, value=-LEVER)
        self._place_3R.add_(self._speed_3R, alpha=SECONDS)
        self._speed_3R.add_(self._change_3R)
        torch.abs(self._place_3R, out=self._distance_3R)
        torch.gt(self._distance_3R, self._limit_3R, out=self._beyond_3R)
        torch.logical_or(self._far_R, self._steep_R, out=self.terminated_R)
        if self.sutton_barto_reward:
            self.rewards_R.copy_(self.terminated_R).neg_()
        self._observe()
