"""Swimmer-v5: three links in a viscous fluid."""

import torch
from torch import Tensor

from distes.envs.mujoco.base import MujocoEnv, Part, copied
from distes.envs.mujoco.sums import numpy_sum


class Swimmer(MujocoEnv):
    """The velocity of the front link along x, less a cost of control; no end but the time limit."""

    def __init__(
        self,
        num_envs: int,
        max_episode_steps: int | None = None,
        device: str | torch.device = "cpu",
        *,
        xml_file: str = "swimmer.xml",
        frame_skip: int = 4,
        forward_reward_weight: float = 1.0,
        ctrl_cost_weight: float = 1e-4,
        reset_noise_scale: float = 0.1,
        exclude_current_positions_from_observation: bool = True,
        info_terms: bool = False,
    ) -> None:
        """Takes the arguments of Gymnasium's environment, and those of every batched one; see `MujocoEnv`."""
        self._forward_weight, self._control_weight = forward_reward_weight, ctrl_cost_weight
        self._hidden = 2 if exclude_current_positions_from_observation else 0
        super().__init__(
            num_envs,
            max_episode_steps,
            device,
            xml_file=xml_file,
            frame_skip=frame_skip,
            reset_noise_scale=reset_noise_scale,
            info_terms=info_terms,
        )

    def _look(self) -> list[Part]:
        self._place = self.physics.qpos[:, :2]
        return [(self.physics.qpos_qvel[:, self._hidden :], copied)]

    def _remember(self) -> None:
        self._before = self._place.clone()

    def _outcome(self, actions: Tensor) -> tuple[Tensor, None, dict[str, Tensor]]:
        x_velocity, y_velocity = ((self._place - self._before) / self.dt).unbind(1)
        forward = self._forward_weight * x_velocity
        control_cost = self._control_weight * numpy_sum(actions * actions)
        rewards = forward - control_cost
        if not self.info_terms:
            return rewards, None, {}
        x, y = self._place.clone().unbind(1)
        terms = {
            "x_position": x,
            "y_position": y,
            "distance_from_origin": torch.hypot(x, y),
            "x_velocity": x_velocity,
            "y_velocity": y_velocity,
            "reward_forward": forward,
            "reward_ctrl": -control_cost,
        }
        return rewards, None, terms
