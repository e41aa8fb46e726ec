"""Pendulum-v1, batched: swing a pendulum up and hold it there with a motor too weak to lift it at once. SI units."""

import math
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from distes.envs.classic import ColumnEnv, number

SECONDS = 0.05  # of one step
FASTEST = 8.0
STRONGEST = 2.0
TURN = 2 * math.pi


class Pendulum(ColumnEnv):
    """R rods of one metre and one kilogram; angle zero is upright.

    Angles are kept between -pi and pi, which Gymnasium's environment does for the reward alone.
    """

    # Angle, steps of the episode; cosine, sine, angular speed; and the speed of the clock, one per step.
    fused = "pendulum"
    columns, state_columns, clock_column = 6, (0, 4), 1

    def __init__(
        self,
        num_envs: int,
        max_episode_steps: int | None = None,
        device: str | torch.device = "cpu",
        *,
        g: float = 10.0,
    ) -> None:
        """Makes R pendulums.

        Args:
            num_envs: R.
            max_episode_steps: Steps after which an episode is truncated; None for never.
            device: The device of all tensors.
            g: Gravity, m/s^2.
        """
        self.g = g
        high = np.array([1, 1, FASTEST], dtype=np.float32)
        box = spaces.Box(-high, high, dtype=np.float32)
        motor = spaces.Box(-STRONGEST, STRONGEST, (1,), np.float32)
        super().__init__(num_envs, box, motor, max_episode_steps, device)

    def _bind(self) -> None:
        block_CR = self.block_CR
        self._place_2R, self._speed_2R = block_CR[:2], block_CR[4:]
        self._angle_R, self._clock_R, self._cos_R, self._sin_R, self._turning_R, _ = block_CR
        self._seen_R3 = block_CR[2:5].t()
        block_CR[5] = 1 / SECONDS
        self._force_R1 = self._tensor("force", (self.num_envs, 1), torch.float32)
        self._force_R = self._force_R1[:, 0]
        self._gain_R, self._turns_R = self._tensor("scratch", (2, self.num_envs))
        self._nothing_R = self._filled("nothing", [0])[0]
        self._limit_R = self._filled("limit", [self.limit])[0]

    def _start(self, options: dict[str, Any], mask_R: Tensor | None) -> Tensor:
        high = [number(options, "x_init", math.pi), number(options, "y_init", 1.0)]
        unit_2R = (2 * self._uniform(2, mask_R) - 1).unbind(1)
        return torch.stack([most * unit_R for most, unit_R in zip(high, unit_2R, strict=True)], dim=1)

    def _admit(self, state_RS: Tensor) -> Tensor:
        angle_R, turning_R = state_RS.to(torch.float64).unbind(1)
        return torch.stack([angle_R - TURN * torch.round(angle_R / TURN), turning_R], dim=1)

    def _observe(self) -> Tensor:
        torch.cos(self._angle_R, out=self._cos_R)
        torch.sin(self._angle_R, out=self._sin_R)
        return self.observations_RO.copy_(self._seen_R3)

    def advance(self, actions: Tensor) -> None:
        """Turns the motor on, (R, 1) N m, for one step; see the base class.

        The reward is -(angle^2 + turning^2 / 10 + force^2 / 1000) of the state before; then the rod gains
        3/2 g sin + 3 force of angular speed per second, and moves at its new speed.
        """
        angle_R, turning_R, gain_R, turns_R = self._angle_R, self._turning_R, self._gain_R, self._turns_R
        torch.clamp(actions, -STRONGEST, STRONGEST, out=self._force_R1)
        self._force_R1.mul_(3)  # in single precision, as Gymnasium's
        gain_R.copy_(self._force_R)
        torch.addcmul(self._nothing_R, angle_R, angle_R, value=-1, out=self.rewards_R)
        self.rewards_R.addcmul_(turning_R, turning_R, value=-0.1)
        self.rewards_R.addcmul_(gain_R, gain_R, value=-0.001 / 9)
        gain_R.add_(self._sin_R, alpha=1.5 * self.g)
        turning_R.add_(gain_R, alpha=SECONDS)
        turning_R.clamp_(-FASTEST, FASTEST)
        self._place_2R.add_(self._speed_2R, alpha=SECONDS)
        torch.mul(angle_R, 1 / TURN, out=turns_R)
        turns_R.round_()
        angle_R.sub_(turns_R, alpha=TURN)
        torch.ge(self._clock_R, self._limit_R, out=self.truncated_R)
        self._observe()
