"""Walker2d-v5: two legs that walk in a plane."""

import torch
from torch import Tensor

from distes.envs.mujoco.base import MujocoEnv, Part, clipped, copied
from distes.envs.mujoco.sums import numpy_sum


class Walker2d(MujocoEnv):
    """The velocity along x and a reward for being healthy, less a cost of control; unhealthy ends it."""

    def __init__(
        self,
        num_envs: int,
        max_episode_steps: int | None = None,
        device: str | torch.device = "cpu",
        *,
        xml_file: str = "walker2d_v5.xml",
        frame_skip: int = 4,
        forward_reward_weight: float = 1.0,
        ctrl_cost_weight: float = 1e-3,
        healthy_reward: float = 1.0,
        terminate_when_unhealthy: bool = True,
        healthy_z_range: tuple[float, float] = (0.8, 2.0),
        healthy_angle_range: tuple[float, float] = (-1.0, 1.0),
        reset_noise_scale: float = 5e-3,
        exclude_current_positions_from_observation: bool = True,
        info_terms: bool = False,
    ) -> None:
        """Takes the arguments of Gymnasium's environment, and those of every batched one; see `MujocoEnv`."""
        self._forward_weight, self._control_weight = forward_reward_weight, ctrl_cost_weight
        self._healthy_reward = torch.tensor(healthy_reward, dtype=torch.float64)
        self._terminate = terminate_when_unhealthy
        # Open intervals of z and of the torso's angle.
        self._ranges = [healthy_z_range, healthy_angle_range]
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
        qpos, qvel = self.physics.qpos, self.physics.qvel
        self._x, self._z_and_angle = qpos[:, 0], qpos[:, 1:3]
        self._low, self._high = self._constant(self._ranges).unbind(1)
        return [(qpos[:, self._hidden :], copied), (qvel, clipped(-10, 10))]

    def _remember(self) -> None:
        self._before = self._x.clone()

    def _outcome(self, actions: Tensor) -> tuple[Tensor, Tensor | None, dict[str, Tensor]]:
        velocity = (self._x - self._before) / self.dt
        healthy = ((self._z_and_angle > self._low) & (self._z_and_angle < self._high)).all(1)
        forward = self._forward_weight * velocity
        survive = healthy * self._healthy_reward
        control_cost = self._control_weight * numpy_sum(actions * actions)
        rewards = forward + survive - control_cost
        terminated = ~healthy if self._terminate else None
        if not self.info_terms:
            return rewards, terminated, {}
        terms = {
            "x_position": self._x.clone(),
            "z_distance_from_origin": self.physics.qpos[:, 1] - self._init_qpos[1],
            "x_velocity": velocity,
            "reward_forward": forward,
            "reward_ctrl": -control_cost,
            "reward_survive": survive,
        }
        return rewards, terminated, terms
