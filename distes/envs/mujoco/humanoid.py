"""Humanoid-v5: a body with two legs and two arms that walks on a plane."""

import torch
from torch import Tensor

from distes.envs.mujoco.base import MujocoEnv, Part, copied
from distes.envs.mujoco.sums import numpy_sum


class Humanoid(MujocoEnv):
    """The velocity of the centre of mass along x and a reward for being healthy, less costs of control and contacts."""

    contact_forces = True

    def __init__(
        self,
        num_envs: int,
        max_episode_steps: int | None = None,
        device: str | torch.device = "cpu",
        *,
        xml_file: str = "humanoid.xml",
        frame_skip: int = 5,
        forward_reward_weight: float = 1.25,
        ctrl_cost_weight: float = 0.1,
        contact_cost_weight: float = 5e-7,
        contact_cost_range: tuple[float, float] = (float("-inf"), 10.0),
        healthy_reward: float = 5.0,
        terminate_when_unhealthy: bool = True,
        healthy_z_range: tuple[float, float] = (1.0, 2.0),
        reset_noise_scale: float = 1e-2,
        exclude_current_positions_from_observation: bool = True,
        include_cinert_in_observation: bool = True,
        include_cvel_in_observation: bool = True,
        include_qfrc_actuator_in_observation: bool = True,
        include_cfrc_ext_in_observation: bool = True,
        info_terms: bool = False,
    ) -> None:
        """Takes the arguments of Gymnasium's environment, and those of every batched one; see `MujocoEnv`."""
        self._forward_weight, self._control_weight = forward_reward_weight, ctrl_cost_weight
        self._contact_weight, self._contact_cost_range = contact_cost_weight, contact_cost_range
        self._healthy_reward = torch.tensor(healthy_reward, dtype=torch.float64)
        self._terminate = terminate_when_unhealthy
        self._z_range = healthy_z_range
        self._hidden = 2 if exclude_current_positions_from_observation else 0
        included = {
            "cinert": include_cinert_in_observation,
            "cvel": include_cvel_in_observation,
            "qfrc_actuator": include_qfrc_actuator_in_observation,
            "cfrc_ext": include_cfrc_ext_in_observation,
        }
        # The world's part, and the forces on the free joint, are left out.
        self._observed = [(name, 6 if name == "qfrc_actuator" else 1) for name, wanted in included.items() if wanted]
        fields = dict.fromkeys(("xipos", "cfrc_ext", *(name for name, _ in self._observed)))
        super().__init__(
            num_envs,
            max_episode_steps,
            device,
            xml_file=xml_file,
            frame_skip=frame_skip,
            reset_noise_scale=reset_noise_scale,
            info_terms=info_terms,
            fields=(*fields, *(("ten_length", "ten_velocity") if info_terms else ())),
        )

    def _look(self) -> list[Part]:
        physics = self.physics
        self._masses = self._constant(physics.model.body_mass[:, None].copy())
        self._mass = float(physics.model.body_mass.sum())
        self._z, self._controls, self._centres = physics.qpos[:, 2], physics.ctrl, physics["xipos"][:, :, :2]
        self._forces = physics["cfrc_ext"].flatten(1)
        observed = [(physics[name][:, skipped:].flatten(1), copied) for name, skipped in self._observed]
        return [(physics.qpos_qvel[:, self._hidden :], copied), *observed]

    def _centre_of_mass(self) -> Tensor:
        """(R, 2), summed in the order of bodies, as NumPy's `einsum` does it."""
        return (self._masses * self._centres).cumsum(1)[:, -1] / self._mass

    def _remember(self) -> None:
        self._before = self._centre_of_mass()

    def _outcome(self, actions: Tensor) -> tuple[Tensor, Tensor | None, dict[str, Tensor]]:
        x_velocity, y_velocity = ((self._centre_of_mass() - self._before) / self.dt).unbind(1)
        healthy = (self._z > self._z_range[0]) & (self._z < self._z_range[1])
        forward = self._forward_weight * x_velocity
        survive = healthy * self._healthy_reward
        # Of the controls as the simulator holds them: float64, and zero where it has put back an infinite state.
        control_cost = self._control_weight * numpy_sum(self._controls * self._controls)
        contact_cost = self._contact_weight * numpy_sum(self._forces * self._forces)
        contact_cost = contact_cost.clamp(*self._contact_cost_range)
        rewards = forward + survive - (control_cost + contact_cost)
        terminated = ~healthy if self._terminate else None
        if not self.info_terms:
            return rewards, terminated, {}
        x, y = self.physics.qpos[:, :2].clone().unbind(1)
        terms = {
            "x_position": x,
            "y_position": y,
            "tendon_length": self.physics["ten_length"].clone(),
            "tendon_velocity": self.physics["ten_velocity"].clone(),
            "distance_from_origin": torch.hypot(x, y),
            "x_velocity": x_velocity,
            "y_velocity": y_velocity,
            "reward_survive": survive,
            "reward_forward": forward,
            "reward_ctrl": -control_cost,
            "reward_contact": -contact_cost,
        }
        return rewards, terminated, terms
