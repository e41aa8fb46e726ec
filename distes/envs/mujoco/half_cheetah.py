"""HalfCheetah-v5: two legs that run in a plane."""

import torch
from torch import Tensor

from distes.envs.mujoco.base import MujocoEnv, Part, copied
from distes.envs.mujoco.sums import numpy_sum


class HalfCheetah(MujocoEnv):
    """The velocity along x, less a cost of control; no end but the time limit."""

    gaussian_velocity = True

    def __init__(
        self,
        num_envs: int,
        max_episode_steps: int | None = None,
        device: str | torch.device = "cpu",
        *,
        xml_file: str = "half_cheetah.xml",
        frame_skip: int = 5,
        forward_reward_weight: float = 1.0,
        ctrl_cost_weight: float = 0.1,
        reset_noise_scale: float = 0.1,
        exclude_current_positions_from_observation: bool = True,
        info_terms: bool = False,
    ) -> None:
        """Takes the arguments of Gymnasium's environment, and those of every batched one; see `MujocoEnv`."""
        self._forward_weight, self._control_weight = forward_reward_weight, ctrl_cost_weight
        self._hidden = 1 if exclude_current_positions_from_observation else 0
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
        self._x = self.physics.qpos[:, 0]
        return [(self.physics.qpos_qvel[:, self._hidden :], copied)]

    def _remember(self) -> None:
        self._before = self._x.clone()

    def _outcome(self, actions: Tensor) -> tuple[Tensor, None, dict[str, Tensor]]:
        velocity = (self._x - self._before) / self.dt
        forward = self._forward_weight * velocity
        control_cost = self._control_weight * numpy_sum(actions * actions)
        rewards = forward - control_cost
        if not self.info_terms:
            return rewards, None, {}
        terms = {
            "x_position": self._x.clone(),
            "x_velocity": velocity,
            "reward_forward": forward,
            "reward_ctrl": -control_cost,
        }
        return rewards, None, terms
