"""Ant-v5: four legs that run on a plane."""

import torch
from torch import Tensor

from distes.envs.mujoco.base import MujocoEnv, Part, clipped, copied
from distes.envs.mujoco.sums import numpy_sum
from distes.errors import ConfigurationError


class Ant(MujocoEnv):
    """The velocity along x and a reward for being healthy, less costs of control and of contacts; unhealthy ends it."""

    contact_forces = True
    gaussian_velocity = True

    def __init__(
        self,
        num_envs: int,
        max_episode_steps: int | None = None,
        device: str | torch.device = "cpu",
        *,
        xml_file: str = "ant.xml",
        frame_skip: int = 5,
        forward_reward_weight: float = 1.0,
        ctrl_cost_weight: float = 0.5,
        contact_cost_weight: float = 5e-4,
        healthy_reward: float = 1.0,
        main_body: int | str = 1,
        terminate_when_unhealthy: bool = True,
        healthy_z_range: tuple[float, float] = (0.2, 1.0),
        contact_force_range: tuple[float, float] = (-1.0, 1.0),
        reset_noise_scale: float = 0.1,
        exclude_current_positions_from_observation: bool = True,
        include_cfrc_ext_in_observation: bool = True,
        info_terms: bool = False,
    ) -> None:
        """Takes the arguments of Gymnasium's environment, and those of every batched one; see `MujocoEnv`."""
        self._forward_weight, self._control_weight = forward_reward_weight, ctrl_cost_weight
        self._contact_weight, self._force_range = contact_cost_weight, contact_force_range
        self._healthy_reward = torch.tensor(healthy_reward, dtype=torch.float64)
        self._terminate = terminate_when_unhealthy
        self._z_range = healthy_z_range
        self._main_body = main_body
        self._hidden = 2 if exclude_current_positions_from_observation else 0
        self._observe_forces = include_cfrc_ext_in_observation
        super().__init__(
            num_envs,
            max_episode_steps,
            device,
            xml_file=xml_file,
            frame_skip=frame_skip,
            reset_noise_scale=reset_noise_scale,
            info_terms=info_terms,
            fields=("cfrc_ext", "xpos"),
        )

    def _look(self) -> list[Part]:
        physics = self.physics
        try:
            body = physics.model.body(self._main_body).id
        except (KeyError, IndexError) as error:
            raise ConfigurationError(
                f"main_body must be the name or the number of a body of the model; got {self._main_body!r}."
            ) from error
        self._forces, self._state = physics["cfrc_ext"], physics.qpos_qvel  # (R, bodies, 6); the first is the world
        self._place, self._z = physics["xpos"][:, body, :2], physics.qpos[:, 2]
        parts: list[Part] = [(self._state[:, self._hidden :], copied)]
        if self._observe_forces:
            parts.append((self._forces[:, 1:].flatten(1), clipped(*self._force_range)))
        return parts

    def _remember(self) -> None:
        self._before = self._place.clone()

    def _outcome(self, actions: Tensor) -> tuple[Tensor, Tensor | None, dict[str, Tensor]]:
        x_velocity, y_velocity = ((self._place - self._before) / self.dt).unbind(1)
        low, high = self._z_range
        healthy = self._state.isfinite().all(1) & (self._z >= low) & (self._z <= high)
        forward = x_velocity * self._forward_weight
        survive = healthy * self._healthy_reward
        control_cost = self._control_weight * numpy_sum(actions * actions)
        contact_cost = self._contact_weight * numpy_sum(self._forces.clamp(*self._force_range).square().flatten(1))
        rewards = forward + survive - (control_cost + contact_cost)
        terminated = ~healthy if self._terminate else None
        if not self.info_terms:
            return rewards, terminated, {}
        x, y = self._state[:, :2].clone().unbind(1)
        terms = {
            "x_position": x,
            "y_position": y,
            "distance_from_origin": torch.hypot(x, y),
            "x_velocity": x_velocity,
            "y_velocity": y_velocity,
            "reward_forward": forward,
            "reward_ctrl": -control_cost,
            "reward_contact": -contact_cost,
            "reward_survive": survive,
        }
        return rewards, terminated, terms
