"""Acrobot-v1, batched: swing the lower of two links above the base with a motor in the joint between them.

The equations of Sutton 1996 in the book's form (Sutton and Barto 2018, section 11.3 of the first edition), with both
links of one metre and one kilogram, centre of mass in the middle, moment of inertia one. SI units.
"""

import math
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from distes.envs.classic import ColumnEnv, bounds

GRAVITY = 9.8
SECONDS = 0.2  # of one step
FASTEST_1, FASTEST_2 = 4 * math.pi, 9 * math.pi
TURN = 2 * math.pi
SCALE = 1.25 * 4.9  # see `_accelerate`


class Stage:
    """A state within a Runge-Kutta step and its derivative, as views of shared tensors."""

    def __init__(self, rows_7R: Tensor, sin_3R: Tensor, cos_2_R: Tensor) -> None:
        """Takes the views.

        Args:
            rows_7R: Angles of both links together, of the first, of the second against the first; speeds of the first
                and the second; their accelerations.
            sin_3R: Sines of the angles.
            cos_2_R: Cosine of the last angle.
        """
        self.angles_3R, self.sin_3R, self.cos_2_R = rows_7R[:3], sin_3R, cos_2_R
        self.state_4R, self.change_4R, self.accelerations_2R = rows_7R[1:5], rows_7R[3:7], rows_7R[5:]
        self.both_R, self.angle_1_R, self.angle_2_R, self.speed_1_R, self.speed_2_R = rows_7R[:5]
        self.acceleration_1_R, self.acceleration_2_R = self.accelerations_2R
        self.sin_both_R, self.sin_1_R, self.sin_2_R = sin_3R


class Acrobot(ColumnEnv):
    """R pairs of links; both angles are zero where the links hang."""

    # Angles: of both links together, of the first, of the second against the first; their speeds, accelerations; clock.
    table: Tensor
    fused = "acrobot"
    columns, state_columns, clock_column = 8, (1, 2, 3, 4), 7

    def __init__(self, num_envs: int, max_episode_steps: int | None = None, device: str | torch.device = "cpu") -> None:
        """Makes R pairs of links.

        Args:
            num_envs: R.
            max_episode_steps: Steps after which an episode is truncated; None for never.
            device: The device of all tensors.
        """
        self.table = torch.tensor([1, 0, -1], dtype=torch.float64).to(device) / SCALE
        high = np.array([1, 1, 1, 1, FASTEST_1, FASTEST_2], dtype=np.float32)
        box = spaces.Box(-high, high, dtype=np.float32)
        super().__init__(num_envs, box, spaces.Discrete(3), max_episode_steps, device)

    def _bind(self) -> None:
        rows = self.num_envs
        cos_sin_6R = self._tensor("cosines and sines", (6, rows))  # of each angle of the state
        self._cos_3R, sin_3R = cos_sin_6R[0::2], cos_sin_6R[1::2]
        self._now = Stage(self.block_CR[:7], sin_3R, self._cos_3R[2])
        self._later = []
        for n in (2, 3, 4):
            sin_cos_4R = self._tensor(f"sines and a cosine {n}", (4, rows))
            self._later.append(Stage(self._tensor(f"stage {n}", (7, rows)), sin_cos_4R[:3], sin_cos_4R[3]))
        self._angles_2R, self._speeds_2R, self._clock_R = self.block_CR[1:3], self.block_CR[3:5], self.block_CR[7]
        self._cos_both_R, self._cos_1_R = self._cos_3R[:2]
        self._turns_2R = self._tensor("turns", (2, rows))
        self._fastest_2R = self._filled("fastest", [FASTEST_1, FASTEST_2])
        self._slowest_2R = self._filled("slowest", [-FASTEST_1, -FASTEST_2])
        self._one_R, self._limit_R, self._target_R = self._filled("constants", [1, self.limit, -1])
        self._coupling_R, self._determinant_R = self._filled("mass matrix", [1.25, -2.8125 / SCALE])
        self._torque_R, self._scratch_5R = self._tensor("torque", (rows,)), self._tensor("scratch", (5, rows)).unbind()
        self._seen = [
            (self.observations_RO[:, :4], cos_sin_6R[2:].t()),
            (self.observations_RO[:, 4:], self._speeds_2R.t()),
        ]

    def _start(self, options: dict[str, Any], mask_R: Tensor | None) -> Tensor:
        low, high = bounds(options, -0.1, 0.1)
        return (low + (high - low) * self._uniform(4, mask_R)).to(torch.float32)  # as Gymnasium's

    def _observe(self) -> Tensor:
        now = self._now
        torch.add(now.angle_1_R, now.angle_2_R, out=now.both_R)
        torch.sin(now.angles_3R, out=now.sin_3R)
        torch.cos(now.angles_3R, out=self._cos_3R)
        for seen_R, values_R in self._seen:
            seen_R.copy_(values_R)
        return self.observations_RO

    def advance(self, actions: Tensor) -> None:
        """Turns the motor back (0), off (1) or forth (2) for one step of Runge and Kutta's; see the base class."""
        now = stage = self._now
        torch.index_select(self.table, 0, actions, out=self._torque_R)
        self._accelerate(now)
        for later, seconds in zip(self._later, (SECONDS / 2, SECONDS / 2, SECONDS), strict=True):
            torch.add(now.state_4R, stage.change_4R, alpha=seconds, out=later.state_4R)
            torch.add(later.angle_1_R, later.angle_2_R, out=later.both_R)
            torch.sin(later.angles_3R, out=later.sin_3R)
            torch.cos(later.angle_2_R, out=later.cos_2_R)
            self._accelerate(later)
            stage = later
        second, third, fourth = self._later
        second.change_4R.add_(third.change_4R)
        fourth.change_4R.add_(second.change_4R, alpha=2)
        fourth.change_4R.add_(now.change_4R)
        now.state_4R.add_(fourth.change_4R, alpha=SECONDS / 6)
        torch.mul(self._angles_2R, 1 / TURN, out=self._turns_2R)
        self._turns_2R.round_()
        self._angles_2R.sub_(self._turns_2R, alpha=TURN)
        torch.clamp(self._speeds_2R, self._slowest_2R, self._fastest_2R, out=self._speeds_2R)
        self._clock_R.add_(self._one_R)
        self._observe()
        torch.add(self._cos_1_R, self._cos_both_R, out=self._torque_R)  # less than the free end's height
        torch.lt(self._torque_R, self._target_R, out=self.terminated_R)
        torch.ge(self._clock_R, self._limit_R, out=self.truncated_R)
        self.rewards_R.copy_(self.terminated_R).sub_(self._one_R)

    def _accelerate(self, stage: Stage) -> None:
        """Solves for the accelerations a1 and a2, with w the speeds, T the torque and s12 the sine of both angles.

        The equations are d1 a1 + d2 a2 = n and d2 a1 + 5/4 a2 = q, where d2 = 5/4 + cos2 / 2, d1 = 2 d2 + 1,
        n = (w1 + w2 / 2) w2 s2 - 4.9 (s12 + 3 s1) and q = T - w1^2 s2 / 2 - 4.9 s12; their determinant is
        D = 45/16 - cos2^2 / 4. With n' = -n / 4.9, and q' and D' the originals over -5/4 * 4.9, fewer operations do:
        a1 = (n' - d2 q') / D' and a2 = (q' + 2 d2 (q' - 2/5 n')) / D'.
        """
        n_R, q_R, d_R, determinant_R, a_R = self._scratch_5R
        torch.add(stage.speed_1_R, stage.speed_2_R, alpha=0.5, out=a_R)
        a_R.mul_(stage.speed_2_R)
        torch.add(stage.sin_both_R, stage.sin_1_R, alpha=3, out=n_R)
        n_R.addcmul_(a_R, stage.sin_2_R, value=-1.25 / SCALE)
        torch.mul(stage.speed_1_R, stage.sin_2_R, out=a_R)
        torch.addcmul(self._torque_R, a_R, stage.speed_1_R, value=0.5 / SCALE, out=q_R)
        q_R.add_(stage.sin_both_R, alpha=4.9 / SCALE)
        torch.add(self._coupling_R, stage.cos_2_R, alpha=0.5, out=d_R)
        torch.addcmul(self._determinant_R, stage.cos_2_R, stage.cos_2_R, value=0.25 / SCALE, out=determinant_R)
        torch.addcmul(n_R, d_R, q_R, value=-1, out=stage.acceleration_1_R)
        torch.sub(q_R, n_R, alpha=0.4, out=a_R)
        torch.addcmul(q_R, d_R, a_R, value=2, out=stage.acceleration_2_R)
        stage.accelerations_2R.div_(determinant_R)
