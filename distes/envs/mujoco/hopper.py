"""Hopper-v5: one leg that hops in a plane."""

import torch
from torch import Tensor

from distes.envs.mujoco.base import MujocoEnv, Part, clipped, copied
from distes.envs.mujoco.sums import numpy_sum


class Hopper(MujocoEnv):
    """The velocity along x and a reward for being healthy, less a cost of control; unhealthy ends it."""

    def __init__(
        self,
        num_envs: int,
        max_episode_steps: int | None = None,
        device: str | torch.device = "cpu",
        *,
        xml_file: str = "hopper.xml",
        frame_skip: int = 4,
        forward_reward_weight: float = 1.0,
        ctrl_cost_weight: float = 1e-3,
        healthy_reward: float = 1.0,
        terminate_when_unhealthy: bool = True,
        healthy_state_range: tuple[float, float] = (-100.0, 100.0),
        healthy_z_range: tuple[float, float] = (0.7, float("inf")),
        healthy_angle_range: tuple[float, float] = (-0.2, 0.2),
        reset_noise_scale: float = 5e-3,
        exclude_current_positions_from_observation: bool = True,
        info_terms: bool = False,
    ) -> None:
        """Takes the arguments of Gymnasium's environment, and those of every batched one; see `MujocoEnv`."""
        self._forward_weight, self._control_weight = forward_reward_weight, ctrl_cost_weight
        self._healthy_reward = torch.tensor(healthy_reward, dtype=torch.float64)
        self._terminate = terminate_when_unhealthy
        self._z_range, self._angle_range, self._state_range = healthy_z_range, healthy_angle_range, healthy_state_range
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
        self._x, self._limited = qpos[:, 0], self.physics.qpos_qvel[:, 1:]
        # Open intervals: of z; of the torso's angle and of all that follows it in (qpos, qvel); of the angle once more.
        (low, high), (angle_low, angle_high) = self._state_range, self._angle_range
        ranges = [self._z_range, (max(low, angle_low), min(high, angle_high))]
        ranges += [self._state_range] * (self._limited.shape[1] - 2)
        self._low, self._high = self._constant(ranges).unbind(1)
        return [(qpos[:, self._hidden :], copied), (qvel, clipped(-10, 10))]

    def _remember(self) -> None:
        self._before = self._x.clone()

    def _outcome(self, actions: Tensor) -> tuple[Tensor, Tensor | None, dict[str, Tensor]]:
        velocity = (self._x - self._before) / self.dt
        healthy = ((self._limited > self._low) & (self._limited < self._high)).all(1)
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
